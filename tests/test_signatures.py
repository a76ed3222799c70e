"""Names under slides and days: what is in the way, what is kept, and what shows when something is changed later."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result
from stores import HOUR, START, Clock, analysis, cell, new, remove, rows, wait

from station.cli import main
from station.contract.corrections import Accept, Flag, RejectImage, Withdraw
from station.contract.errors import CorrectionError, DatabaseError
from station.contract.flags import REVIEW
from station.database.gallery import Sieve
from station.database.review_records import Slide
from station.database.store import Store
from station.reviewing import correct
from station.signing import seen_of, sign, signature_state

UTC, BERLIN = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")


def count(store: Store, name: str, *flags: str, cells: int = 2, hours: float = 0.0) -> int:
    image_id = store.add_image(new(name, captured_at=START + hours * HOUR)).image_id
    store.lease("w", 1)
    store.save_analysis(analysis(image_id, flags=flags, cells=tuple(map(cell, range(1, cells + 1)))))
    return image_id


def state(store: Store) -> tuple[str, ...]:
    found = signature_state(store, "slide", "S-17", UTC)
    return (found.word, *found.differs)


def test_a_signature_names_the_person_the_numbers_and_the_model(store: Store, clock: Clock) -> None:
    count(store, "a.bmp", cells=3)
    count(store, "b.bmp", cells=4)
    correct(store, 2, RejectImage(), "Ben")
    assert signature_state(store, "slide", "S-17", UTC).word == "unsigned"
    clock.after(hours=1)
    made = sign(store, "slide", "S-17", "Ada", UTC)
    assert (made.who, made.signed_at, made.subject, made.name) == ("Ada", clock.now, "slide", "S-17")
    assert made.models == ("starter 1, m1",)
    assert made.numbers == {
        "images": 2,
        "cells_automatic": 7,
        "cells_reviewed": 3,
        "images_changed": 0,
        "images_rejected": 1,
    }
    assert store.signatures("slide", "S-17") == (made,) and store.signatures("day", "S-17") == ()
    assert state(store) == ("signed",)


def test_what_was_taken_back_leaves_the_count_to_the_newest_analysis(store: Store) -> None:
    count(store, "a.bmp", cells=3)
    for correction in (RejectImage(), Withdraw()):
        correct(store, 1, correction, "Ada")
    store.save_analysis(analysis(1, settings_sha256="other"))
    found = sign(store, "slide", "S-17", "Ada", UTC)
    assert [found.numbers[name] for name in ("cells_automatic", "cells_reviewed", "images_rejected")] == [2, 2, 0]


def test_what_is_marked_for_review_is_looked_at_first(store: Store) -> None:
    for name in "abc":
        count(store, name, REVIEW)
    correct(store, 2, Accept(), "Ada")
    with pytest.raises(CorrectionError, match="cannot be signed yet: marked for review: image 1, 3; look at each"):
        sign(store, "slide", "S-17", "Ada", UTC)
    for image_id in (1, 3):
        correct(store, image_id, Accept(), "Ada")
    sign(store, "slide", "S-17", "Ada", UTC)
    correct(store, 3, Withdraw(), "Ada")
    with pytest.raises(CorrectionError, match="marked for review: image 3;"):
        sign(store, "slide", "S-17", "Ada", UTC)
    assert rows(store.path, "SELECT count(*) FROM signatures") == [(1,)]


def test_a_rejected_image_stays_out_of_the_way_whatever_a_newer_analysis_doubts(store: Store) -> None:
    count(store, "a.bmp", REVIEW)
    count(store, "b.bmp")
    correct(store, 1, RejectImage(), "Ada")
    store.add_analysis(analysis(1, flags=(REVIEW,), settings_sha256="other"))
    assert [line.marked for line in store.review_lines(Slide("S-17"))] == [False, False]
    assert store.gallery(Sieve(marked=True), 9) == ()
    sign(store, "slide", "S-17", "Ada", UTC)
    correct(store, 1, Withdraw(), "Ada")
    assert [line.image_id for line in store.gallery(Sieve(marked=True), 9)] == [1]
    correct(store, 1, Flag(), "Ada")
    assert [line.image_id for line in store.gallery(Sieve(marked=True), 9)] == [1]


def test_what_is_not_counted_yet_is_counted_first(store: Store) -> None:
    count(store, "a.bmp")
    wait(store, "b.bmp")
    store.add_image(new("c.bmp"))
    store.lease("w", 1)
    store.add_image(new("d.bmp"))
    words = r"cannot be signed yet: not counted: image 2 \(waiting\), 3 \(leased\), 4 \(queued\)"
    with pytest.raises(CorrectionError, match=words):
        sign(store, "slide", "S-17", "Ada", UTC)
    store.fail(3, "NaN")  # put aside with its reason: it gives no count, and nobody waits for it
    store.lease("w", 1)
    store.save_analysis(analysis(4))
    store.add_image(new("b.bmp"))
    store.lease("w", 1)
    store.save_analysis(analysis(2))
    assert sign(store, "slide", "S-17", "Ada", UTC).numbers["images"] == 3


def test_what_changed_since_it_was_shown_is_not_signed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    count(store, "a.bmp", cells=3)
    shown, stored = seen_of(store.review_lines(Slide("S-17"))), Store.sign

    def late(of: Store, *told: object) -> object:
        correct(of, 1, RejectImage(), "Ben")  # after the page was checked, before the signature is written
        return stored(of, *told)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(CorrectionError, match="changed since this page was opened"):
        patched.setattr(Store, "sign", late)
        sign(store, "slide", "S-17", "Ada", UTC, seen=shown)
    assert store.signatures("slide", "S-17") == ()
    assert sign(store, "slide", "S-17", "Ada", UTC, seen=seen_of(store.review_lines(Slide("S-17")))).who == "Ada"


def test_nobody_signs_nothing(store: Store) -> None:
    count(store, "a.bmp")
    with pytest.raises(CorrectionError, match="there is no counted image of the slide S-18"):
        sign(store, "slide", "S-18", "Ada", UTC)
    with pytest.raises(CorrectionError, match="nobody is named"):
        sign(store, "slide", "S-17", "  ", UTC)
    with pytest.raises(CorrectionError, match="'yesterday' is no day; say it as 2026-11-24"):
        sign(store, "day", "yesterday", "Ada", UTC)
    assert rows(store.path, "SELECT count(*) FROM signatures") == [(0,)]


def test_later_changes_show_and_signing_anew_is_appended(store: Store) -> None:
    for name, cells in (("a.bmp", 3), ("b.bmp", 4)):
        count(store, name, cells=cells)
    first = sign(store, "slide", "S-17", "Ada", UTC)
    correct(store, 1, RejectImage(), "Ben")
    assert state(store) == ("changed since", "image 1: corrected, 3 -> 0 white cells")
    store.save_analysis(analysis(2, settings_sha256="other"))
    assert state(store)[2:] == ("image 2: analysed again, 4 -> 2 white cells",)
    count(store, "c.bmp", cells=5)
    assert state(store)[3:] == ("image 3: new, 5 white cells",)
    store.add_image(new("d.bmp"))
    assert state(store)[4:] == ("image 4: queued, not counted yet",)
    store.lease("w", 1)
    store.save_analysis(analysis(4))
    second = sign(store, "slide", "S-17", "Ben", UTC)
    assert state(store) == ("signed",)
    assert store.signatures("slide", "S-17") == (first, second)
    correct(store, 3, Accept(), "Ben")
    assert state(store) == ("changed since", "image 3: corrected, accepted or marked, 5 -> 5 white cells")
    sign(store, "slide", "S-17", "Ben", UTC)
    remove(store, 2)
    assert state(store) == ("changed since", "image 2: not there any more, had 2 white cells")


def test_another_analysis_shows_even_where_it_counts_the_same(store: Store) -> None:
    count(store, "a.bmp")
    sign(store, "slide", "S-17", "Ada", UTC)
    store.save_analysis(analysis(1, settings_sha256="other", flags=(REVIEW,)))
    assert state(store) == ("changed since", "image 1: analysed again, 2 -> 2 white cells")


def test_a_signature_from_before_analyses_were_kept_in_it_still_holds(store: Store) -> None:
    count(store, "a.bmp")
    old = [[1, 2, None, 0]]
    digest = hashlib.sha256(json.dumps(old).encode()).hexdigest()
    sign(store, "slide", "S-17", "Ada", UTC)
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("UPDATE signatures SET images = ?, digest = ?", (json.dumps(old), digest))
    assert state(store) == ("signed",)
    correct(store, 1, RejectImage(), "Ben")
    assert state(store) == ("changed since", "image 1: corrected, 2 -> 0 white cells")


@pytest.mark.parametrize("name", ["20261123", "2026-W48-1", "9999-12-31", "1676-12-31", "today"])
def test_a_day_has_one_spelling_and_a_reach(store: Store, name: str) -> None:
    with pytest.raises(CorrectionError, match=f"'{name}' is no day; say it as 2026-11-24"):
        sign(store, "day", name, "Ada", UTC)


def test_a_day_is_the_local_one(store: Store) -> None:
    """START is 9:00 UTC; 22:59 UTC is the last minute of that day in Berlin."""
    for name, hours in (("early", -10.01), ("first", -10.0), ("last", 13.99), ("late", 14.0)):
        count(store, name, hours=hours)
    assert [image.image_id for image in sign(store, "day", "2026-11-23", "Ada", BERLIN).images] == [2, 3]
    assert [image.image_id for image in sign(store, "day", "2026-11-23", "Ada", UTC).images] == [3, 4]


def test_a_half_copy_is_in_nobodys_way(store: Store) -> None:
    count(store, "a.bmp", REVIEW)
    store.add_image(new("a.bmp", "whole"))  # the file was changed in place: what was counted was half of it
    store.lease("w", 1)
    store.save_analysis(analysis(2))
    assert sign(store, "slide", "S-17", "Ada", UTC).numbers["images"] == 1


def test_nobody_can_change_an_image_while_it_is_signed(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written under the name is what the images counted at that moment, in one transaction."""
    count(store, "a.bmp")
    made = sign(store, "slide", "S-17", "Ada", UTC)
    (image,) = made.images
    assert (image.image_id, image.wbc_count, image.wbc_count_reviewed, image.number) == (1, 2, None, 0)

    def refuse(_lines: object) -> object:
        with closing(Store.open(store.path, clock=clock)) as other:
            correct(other, 1, RejectImage(), "Ben")
        raise AssertionError

    monkeypatch.setattr("station.database.connection.BUSY_SECONDS", 0.1)
    with pytest.raises(DatabaseError, match="locked: another program holds it"):
        store.sign(Slide("S-17"), refuse)  # type: ignore[arg-type]
    assert store.corrections(1) == () and store.signatures("slide", "S-17") == (made,)


@pytest.mark.parametrize("who", ["<script>alert(1)</script>", "=cmd()", "'; DROP TABLE signatures; --", "\x1b[2J‮"])
def test_the_commands_sign_show_and_print_no_codes(store: Store, tmp_path: Path, who: str) -> None:
    config = tmp_path / "station.toml"
    config.write_text(
        f'[camera]\nfolder = "{tmp_path}"\n[database]\npath = "{store.path}"\n[report]\ntime_zone = "Europe/Berlin"\n'
    )

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["sign", *arguments, "--config", str(config)])

    count(store, "a.bmp", REVIEW)
    refused = call("--slide", "S-17", "--who", who)
    assert refused.exit_code == 1 and "marked for review: image 1;" in refused.stderr
    correct(store, 1, Accept(), "Ada")
    assert call("--date", "2026-11-23", "--show").stdout == "day 2026-11-23: unsigned\n"
    for option in (("--date", "2026-11-23"), ("--slide", "S-17")):
        told = call(*option, "--who", who)
        assert told.exit_code == 0 and "2 white cells (2 found automatically) in 1 image, 0 changed" in told.stdout
        assert not set(told.stdout) & set("\x1b‮")
    assert [one.who for one in store.signatures("day", "2026-11-23")] == [who]
    signed = call("--slide", "S-17", "--show").stdout
    assert "slide S-17: signed; " in signed and "counted by starter 1, m1" in signed
    correct(store, 1, RejectImage(), "Ada")
    shown = call("--slide", "S-17", "--show").stdout
    assert "slide S-17: changed since; " in shown and "image 1: corrected, 2 -> 0 white cells" in shown
    with closing(sqlite3.connect(store.path)) as connection, connection:  # as when its folder is renamed
        connection.execute("UPDATE images SET slide = 'S-71'")
    shown = call("--slide", "S-17", "--show").stdout
    assert "slide S-17: changed since; " in shown and "image 1: not there any more" in shown
    for wrong in ((), ("--slide", "S-17", "--date", "2026-11-23"), ("--date", "soon")):
        assert call(*wrong).exit_code == 2
    unknown = call("--slide", "no\udcfftext", "--show")
    assert unknown.exit_code == 1 and "there is no image of the slide no\\xfftext; reports show" in unknown.stderr
    assert call("--slide", "nobody's").exit_code == 1
