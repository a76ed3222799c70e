"""Where a picture comes from: the slide in its path, the moment in its file."""

from __future__ import annotations

import io
import re
import struct
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import tifffile
from PIL import Image

from station.captures import captured, slide_of
from station.database.records import FileStamp

BERLIN = ZoneInfo("Europe/Berlin")


def told_at(text: str | None) -> bytes:
    """A picture whose camera wrote its clock's time into it, or did not."""
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((4, 4, 3), np.uint8), photometric="rgb", datetime=text)
    return out.getvalue()


def exif(tags: dict[int, str], beside: dict[int, str] | None = None) -> bytes:
    """A JPEG with these tags of its EXIF directory, and `beside` of its first one."""
    told, file = Image.Exif(), io.BytesIO()
    told.update(beside or {})
    told.get_ifd(34665).update(tags)
    Image.new("RGB", (16, 16)).save(file, "jpeg", exif=told)
    return file.getvalue()


def written(moment: datetime) -> FileStamp:
    return FileStamp(1, int(moment.timestamp() * 1e9), 1)


@pytest.mark.parametrize("hour", [0, 1])
def test_in_the_hour_that_the_clock_shows_twice_the_writing_tells_which_it_is(hour: int) -> None:
    """On 25 October 2026 the Berlin clock shows 02:30 at 00:30 and at 01:30 UTC."""
    truth = datetime(2026, 10, 25, hour, 30, tzinfo=UTC)
    data = told_at("2026:10:25 02:30:00")
    assert captured(data, written(truth.replace(second=3)), BERLIN) == truth


@pytest.mark.parametrize("day", [datetime(2026, 1, 5, 9, 15), datetime(2026, 7, 5, 9, 15)])
def test_the_cameras_clock_shows_the_time_of_its_zone_whenever_the_file_was_copied(day: datetime) -> None:
    data = told_at(day.strftime("%Y:%m:%d %H:%M:%S"))
    copied = written(datetime(2026, 11, 30, tzinfo=UTC))
    assert captured(data, copied, BERLIN) == day.replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("tags", "beside", "hour"),
    [
        ({36867: "2026:05:01 10:11:12"}, {}, 8),
        ({36867: "2026:05:01 10:11:12", 36881: "+09:00"}, {}, 1),  # told how far from Greenwich
        ({36867: "2026:05:01 10:11:12.25+00:00"}, {}, 10),
        ({36868: "2026:05:01 10:11:12"}, {306: "2026:05:01 20:00:00"}, 8),  # digitised goes before changed
        ({36867: "2026:05:01 10:11:12", 36881: "nine"}, {}, 8),
        ({36867: "2026:05:01 10:11:12 PM"}, {}, None),
        ({36867: "2026:05:01 10:11:12Z"}, {}, 10),
        ({36867: "2026:05:01 10:11:12x", 36881: "+99:00"}, {}, 8),
        ({}, {306: "2026:05:01 10:11:12"}, 8),
    ],
    ids=str,
)
def test_the_moment_is_that_of_taking_by_the_zone_that_the_picture_tells(
    tags: dict[int, str], beside: dict[int, str], hour: int | None
) -> None:
    copied = written(datetime(2026, 6, 1, 12, tzinfo=UTC))
    expected = copied.written_at if hour is None else datetime(2026, 5, 1, hour, 11, 12, tzinfo=UTC)
    assert captured(exif(tags, beside), copied, BERLIN) == expected


def test_what_is_broken_behind_a_time_costs_not_the_time() -> None:
    """A thumbnail that was cut off, and a pointer to more that leads nowhere."""
    file = bytearray(exif({36867: "2026:05:01 23:00:00"}, {306: "2026:05:01 10:11:12"}))
    block = file.index(b"Exif\0\0") + 6
    order = "<" if file[block : block + 2] == b"II" else ">"
    first = block + struct.unpack_from(order + "I", file, block + 4)[0]
    count = struct.unpack_from(order + "H", file, first)[0]
    places = {struct.unpack_from(order + "H", file, at)[0]: at for at in range(first + 2, first + 2 + 12 * count, 12)}
    for at in (first + 2 + 12 * count, places[34665] + 8):
        struct.pack_into(order + "I", file, at, 77_777)
    moment = captured(bytes(file), written(datetime(2026, 6, 1, tzinfo=UTC)), BERLIN)
    assert moment == datetime(2026, 5, 1, 8, 11, 12, tzinfo=UTC)


def test_without_a_time_in_it_a_picture_is_of_when_it_was_written() -> None:
    moment = datetime(2026, 3, 29, 7, 0, tzinfo=UTC)
    assert captured(told_at(None), written(moment), BERLIN) == moment


@pytest.mark.parametrize(
    ("path", "pattern", "slide"),
    [
        ("a.bmp", None, None),
        ("S-1/a.bmp", None, "S-1"),
        ("day/S-1/a.bmp", None, "day/S-1"),
        ("S-9_01.bmp", "^(S-[0-9]+)_", "S-9"),
        ("day/S-9_01.bmp", "(S-[0-9]+)_", "S-9"),
        ("day/other.bmp", "(S-[0-9]+)_", "day"),
        ("other.bmp", "(S-[0-9]+)?", None),
    ],
)
def test_the_slide_is_what_the_pattern_finds_or_the_folder(path: str, pattern: str | None, slide: str | None) -> None:
    assert slide_of(Path(path), re.compile(pattern) if pattern else None) == slide
