"""Picture files that are damaged on purpose: a seed gives a real file with one to three lies in it, always the same."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from originals import originals

from station.contract.tiff import Tiff, open_tiff

Mutator: TypeAlias = Callable[[random.Random, bytes], bytes]

# What a field of a header is overwritten with: none, one, the ends of 8, 16, 31 and 32 bits, a plausible large picture.
_EXTREMES = (
    0,
    1,
    2,
    3,
    7,
    16,
    255,
    1200,
    4096,
    30_000,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**20,
    2**28,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
_FIELDS = ("<H", ">H", "<I", ">I")


@dataclass(frozen=True, slots=True)
class Mutation:
    """A damaged file; `what` names the original and what was done to it."""

    seed: int
    name: str
    what: str
    data: bytes


def mutation(seed: int) -> Mutation:
    """The damaged file of a seed. Every original comes up in turn."""
    rng, files = random.Random(seed), originals()
    name = list(files)[seed % len(files)]
    style, data, done = name.split()[0], files[name], []
    first = _OWN[style] if rng.random() < 0.7 else _ANY
    for mutators in (first, *([_ANY] * rng.choice((0, 0, 1, 2)))):
        chosen = rng.choice(mutators)
        data = chosen(rng, data)
        done.append(chosen.__name__.strip("_"))
    return Mutation(seed, f"{seed:05d}.{style}", f"{name}: {', '.join(done)}", data)


# What is done to any file


def _patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :] if 0 <= at < len(data) else data


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.choice((rng.randrange(64), rng.randrange(len(data) + 1), len(data) - rng.randrange(1, 12)))]


def _zero_tail(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)].ljust(len(data), b"\0")


def _flip_bits(rng: random.Random, data: bytes) -> bytes:
    """Few at the head, where they matter, or many anywhere."""
    flipped, reach = bytearray(data), rng.choice((64, 256, len(data)))
    for _ in range(rng.choice((1, 2, 8, 64)) if data else 0):
        flipped[rng.randrange(min(reach, len(data)))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _noise(rng: random.Random, data: bytes) -> bytes:
    return _patched(data, rng.randrange(len(data) + 1), rng.randbytes(rng.choice((1, 4, 32, 500))))


def _extreme_field(rng: random.Random, data: bytes) -> bytes:
    layout = rng.choice(_FIELDS)
    return _patched(data, rng.randrange(2, 200), _packed(layout, rng.choice(_EXTREMES)))


def _inserted(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 16, 300))) + data[at:]


def _removed(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 2, 16, 300)) :]


def _doubled(rng: random.Random, data: bytes) -> bytes:
    at, length = rng.randrange(len(data) + 1), rng.choice((4, 64, 1000))
    return data[: at + length] + data[at:]


def _grafted(rng: random.Random, data: bytes) -> bytes:
    """The head of one file on the tail of another."""
    other = rng.choice(list(originals().values()))
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other)) :]


def _packed(layout: str, value: int) -> bytes:
    return struct.pack(layout, value % (1 << (8 * struct.calcsize(layout))))


# BMP: every field of the file header and of the info header, and the palette behind it

_BMP_FIELDS = (
    (2, "<I"),
    (10, "<I"),
    (14, "<I"),
    (18, "<I"),
    (22, "<I"),
    (26, "<H"),
    (28, "<H"),
    (30, "<I"),
    (34, "<I"),
)
_BMP_PALETTE_FIELDS = ((46, "<I"), (50, "<I"))


def _bmp_field(rng: random.Random, data: bytes) -> bytes:
    at, layout = rng.choice(_BMP_FIELDS)
    return _patched(data, at, _packed(layout, rng.choice((*_EXTREMES, -96, 8, 24, 32, len(data)))))


def _bmp_palette(rng: random.Random, data: bytes) -> bytes:
    at, layout = rng.choice(_BMP_PALETTE_FIELDS)
    return _patched(data, at, _packed(layout, rng.choice((*_EXTREMES, 257, 1024))))


def _bmp_packing(rng: random.Random, data: bytes) -> bytes:
    """Another depth read from the same bytes: the decoder believes that runs or masks follow."""
    depth = _patched(data, 28, _packed("<H", rng.choice((1, 2, 4, 8, 16, 24, 32))))
    return _patched(depth, 30, _packed("<I", rng.choice((0, 1, 2, 3, 4, 6))))


# PNG: chunks, with checksums that are right again


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        found.append((name, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    made = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def _png_head(rng: random.Random, data: bytes) -> bytes:
    """Width, height, depth, colour, compression, filter, interlace."""
    (name, head), *rest = _chunks(data)
    at = rng.choice((0, 4, 8, 9, 10, 11, 12))
    value = rng.choice(_EXTREMES if at < 8 else (0, 1, 2, 3, 4, 6, 8, 16, 255))
    return _png([(name, _patched(head, at, _packed(">I" if at < 8 else "B", value))), *rest])


def _png_order(rng: random.Random, data: bytes) -> bytes:
    chunks = _chunks(data)
    rng.shuffle(chunks)
    return _png(chunks)


def _png_dropped_or_doubled(rng: random.Random, data: bytes) -> bytes:
    chunks = _chunks(data)
    at = rng.randrange(len(chunks))
    return _png(chunks[:at] + chunks[at : at + 1] * rng.choice((0, 2, 50)) + chunks[at + 1 :])


def _png_body(rng: random.Random, data: bytes) -> bytes:
    """A chunk too short, too long, or of noise; palettes and transparency among them."""
    chunks = _chunks(data)
    at = rng.randrange(len(chunks))
    name, body = chunks[at]
    chunks[at] = (name, rng.choice((body[: len(body) // 2], body + rng.randbytes(800), rng.randbytes(len(body)), b"")))
    return _png(chunks)


def _png_bomb(rng: random.Random, data: bytes) -> bytes:
    """A few bytes that unpack to megabytes: as pixels, as a colour profile or as text."""
    head, *rest = _chunks(data)
    packed = _packed_zeros(rng.choice((2, 64)))
    extra = {b"IDAT": packed, b"iCCP": b"x\0\0" + packed, b"zTXt": b"x\0\0" + packed, b"iTXt": b"x\0\1\0\0\0" + packed}
    name = rng.choice(list(extra))
    kept = [chunk for chunk in rest if chunk[0] != name]
    return _png([head, (name, extra[name]), *kept])


@cache
def _packed_zeros(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes << 20))


def _png_exif(rng: random.Random, data: bytes) -> bytes:
    return _png([(name, _tiff_entry(rng, body) if name == b"eXIf" else body) for name, body in _chunks(data)])


# JPEG: the segments before the coded data


def _segments(data: bytes) -> tuple[list[bytes], bytes]:
    """The segments from the second marker to the first SOS, and what follows."""
    found, at = [], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        found.append(data[at:end])
        at = end
    return found, data[at:]


def _jpeg(segments: list[bytes], coded: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + coded


def _jpeg_order(rng: random.Random, data: bytes) -> bytes:
    segments, coded = _segments(data)
    rng.shuffle(segments)
    return _jpeg(segments, coded)


def _jpeg_dropped_or_doubled(rng: random.Random, data: bytes) -> bytes:
    segments, coded = _segments(data)
    at = rng.randrange(len(segments))
    return _jpeg(segments[:at] + segments[at : at + 1] * rng.choice((0, 2, 40)) + segments[at + 1 :], coded)


def _jpeg_length(rng: random.Random, data: bytes) -> bytes:
    segments, coded = _segments(data)
    at = rng.randrange(len(segments))
    segments[at] = _patched(segments[at], 2, _packed(">H", rng.choice((0, 1, 2, 8, 0xFFFF, len(segments[at])))))
    return _jpeg(segments, coded)


def _jpeg_frame(rng: random.Random, data: bytes) -> bytes:
    """Process, precision, height, width, number of components, sampling factors."""
    at = next(at for at in (data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) if at >= 0)
    field, layout = rng.choice(((1, "B"), (4, "B"), (5, ">H"), (7, ">H"), (9, "B"), (11, "B"), (14, "B")))
    extremes = (0, 1, 2, 4, 0x14, 0x41, 0x44, 0xFF, 0xC1, 0xC9) if layout == "B" else _EXTREMES
    return _patched(data, at + field, _packed(layout, rng.choice(extremes)))


def _jpeg_tables(rng: random.Random, data: bytes) -> bytes:
    """Noise in quantisation or Huffman tables, or in the header of a scan."""
    places = [at for marker in (b"\xff\xdb", b"\xff\xc4", b"\xff\xda") for at in _found(data, marker)]
    return _patched(data, rng.choice(places) + rng.randrange(4, 24), rng.randbytes(rng.choice((1, 2, 8))))


def _jpeg_exif(rng: random.Random, data: bytes) -> bytes:
    segments, coded = _segments(data)
    return _jpeg([s[:10] + _tiff_entry(rng, s[10:]) if s[4:10] == b"Exif\0\0" else s for s in segments], coded)


def _found(data: bytes, marker: bytes) -> list[int]:
    return [at for at in range(len(data) - 1) if data.startswith(marker, at)]


# TIFF and EXIF: entries of a directory, and where directories lead


def _entries(tiff: Tiff) -> dict[int, int]:
    """Tag -> position of its entry, in the first directory."""
    return {tag: entry.at - (12 if tiff.big else 8) for tag, entry in tiff.directories()[0].items()}


def _tiff_entry(rng: random.Random, data: bytes) -> bytes:
    """Tag, type, count or value of an entry: also offsets into nothing and directories that lead back."""
    tiff = open_tiff(data)
    at, word = rng.choice(list(_entries(tiff).values())), "Q" if tiff.big else "I"
    value_at = at + (12 if tiff.big else 8)
    field, layout = rng.choice(((at, "H"), (at + 2, "H"), (at + 4, word), (value_at, word), (value_at, word)))
    first = tiff.data[8:16] if tiff.big else tiff.data[4:8]
    back = struct.unpack(tiff.order + word, first)[0]
    values = (*_EXTREMES, back, back, len(data) - 2, 2**63, 2**64 - 1)
    return _patched(data, field, _packed(tiff.order + layout, rng.choice(values)))


def _tiff_same_tag(rng: random.Random, data: bytes) -> bytes:
    """An entry gets the tag of another: one twice, one not at all."""
    tiff = open_tiff(data)
    to, of = rng.sample(list(_entries(tiff).items()), 2)
    return _patched(data, to[1], struct.pack(tiff.order + "H", of[0]))


def _tiff_geometry(rng: random.Random, data: bytes) -> bytes:
    """Size, depth, compression, samples, strips and tiles: what a decoder makes its buffers of."""
    tiff = open_tiff(data)
    entries = _entries(tiff)
    tag = rng.choice([tag for tag in (256, 257, 258, 259, 262, 277, 278, 284, 317, 322, 323, 338) if tag in entries])
    value_at = entries[tag] + (12 if tiff.big else 8)
    return _patched(
        _patched(data, entries[tag] + 2, struct.pack(tiff.order + "H", 4)),
        value_at,
        _packed(tiff.order + "I", rng.choice((*_EXTREMES, 5, 8, 34712, 50000))),
    )


def _tiff_next(rng: random.Random, data: bytes) -> bytes:
    """The position of the next directory: the first again, the middle of nowhere, or beyond the end."""
    tiff = open_tiff(data)
    size, word = (20, "Q") if tiff.big else (12, "I")
    at = max(_entries(tiff).values()) + size
    back = struct.unpack_from(tiff.order + word, data, 8 if tiff.big else 4)[0]
    return _patched(data, at, _packed(tiff.order + word, rng.choice((back, 8, 1, len(data) - 1, 2**32 - 1, 2**63))))


_ANY: tuple[Mutator, ...] = (
    *(_cut, _zero_tail, _flip_bits, _flip_bits, _noise, _extreme_field, _extreme_field),
    *(_inserted, _removed, _doubled, _grafted),
)
_OWN: dict[str, tuple[Mutator, ...]] = {
    "bmp": (_bmp_field, _bmp_field, _bmp_palette, _bmp_packing),
    "png": (_png_head, _png_head, _png_order, _png_dropped_or_doubled, _png_body, _png_bomb, _png_exif),
    "jpeg": (_jpeg_order, _jpeg_dropped_or_doubled, _jpeg_length, _jpeg_frame, _jpeg_frame, _jpeg_tables, _jpeg_exif),
    "tiff": (_tiff_entry, _tiff_entry, _tiff_same_tag, _tiff_geometry, _tiff_geometry, _tiff_next),
}
