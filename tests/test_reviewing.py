"""Corrections of counted images: appended, read back, made by two people at once, taken back; reports and commands."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner, Result
from networks import DIAMETER_PX, colour_network, discs, png, tiny_manifest
from stores import START, Clock, analysis, new, pruned, results, rows

from station.cli import main
from station.contract.analysis import Scale, analyse
from station.contract.corrections import (
    Accept,
    AddCell,
    Correction,
    Flag,
    MergeCells,
    RejectImage,
    RemoveCell,
    Repaint,
    SplitCell,
    Stroke,
    Withdraw,
)
from station.contract.errors import CorrectionError
from station.contract.flags import REVIEW
from station.contract.masks import encode, encode_narrow
from station.database.gallery import Sieve
from station.database.records import NewImage
from station.database.review_records import NewCorrection, Reviewed, Seen, Slide
from station.database.store import Store
from station.pruning import plan
from station.reports import summarise
from station.reviewing import Outcome, correct, masks_of, picture_of, state_of, stored
from station.signing import sign
from station.watching import look

CELLS = ((60, 60, 30, 17), (105, 70, 30, 16), (200, 110, 28, 15))  # 1 and 2 touch; the third is missed by the tests
AWAY = AddCell(60, 140)


class Reviewing:
    """A station that counted one picture of three cells, and the people who look at it."""

    def __init__(self, root: Path, empty: Path) -> None:
        self.root, self.folder, self.clock = root, root / "camera", Clock()
        (self.folder / "S-17").mkdir(parents=True)
        shutil.copy(empty, root / "reviewed.db")
        self.store = Store.open(root / "reviewed.db", clock=self.clock)
        self.take("a.png", CELLS)

    def take(self, name: str, cells: tuple[tuple[int, int, int, int], ...]) -> None:
        path, image = self.folder / "S-17" / name, discs(180, 240, cells)
        path.write_bytes(png(image))
        stamp, content = look(self.folder).files[str(path)], hashlib.sha256(path.read_bytes()).hexdigest()
        added = self.store.add_image(NewImage(str(path), stamp, content, "S-17", START, rung=True))
        self.store.lease("w", 1)
        drawing = analyse(image, Scale(DIAMETER_PX, "told"), tiny_manifest(), colour_network).drawing
        drawn = {"labels_png": encode(drawing.labels), "cells_png": encode_narrow(drawing.cells)}
        measured = tuple(stored(cell) for cell in drawing.measured)
        self.store.save_analysis(
            analysis(
                added.image_id, cells=measured, flags=(), cell_diameter_px=DIAMETER_PX, width=240, height=180, **drawn
            )
        )

    def say(self, correction: Correction, who: str = "Ada", seen: int | Seen | None = None, why: str = "") -> Outcome:
        if isinstance(seen, int):
            seen = replace(self.state().seen, number=seen)
        return correct(self.store, 1, correction, who, why, seen)

    def state(self) -> Reviewed:
        return state_of(self.store, 1)

    def counts(self) -> tuple[int | None, ...]:
        (row,) = [row for row in results(self.store) if row.image_id == 1]
        return row.wbc_count, row.wbc_count_reviewed

    def sources(self) -> list[tuple[object, ...]]:
        return rows(self.store.path, "SELECT cell_id, source FROM cell_results WHERE image_id = 1 ORDER BY cell_id")

    def analyse_again(self, *, flags: tuple[str, ...] = (), settings: str = "other") -> None:
        """As `station reanalyse` would: one cell, under other settings."""
        one = state_of(self.store, 1)
        changes = {"labels_png": one.labels_png, "cells_png": one.cells_png, "settings_sha256": settings}
        self.store.save_analysis(analysis(1, flags=flags, **changes))

    def call(self, *arguments: object) -> Result:
        config = self.root / "station.toml"
        config.write_text(
            f'[camera]\nfolder = "{self.folder}"\n[database]\npath = "{self.store.path}"\n'
            '[report]\ntime_zone = "Europe/Berlin"\n'
        )
        told = CliRunner().invoke(main, [*map(str, arguments), "--config", str(config)])
        assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
        return told


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the newest schema: to make one takes longer than most tests here."""
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    Store.open(path, clock=Clock(), create=True).close()
    return path


@pytest.fixture
def room(tmp_path: Path, empty: Path) -> Iterator[Reviewing]:
    made = Reviewing(tmp_path, empty)
    yield made
    made.store.close()


def consistent(store: Store) -> None:
    """Counts, cells and masks of every correction agree, and the automatic analysis is as it was."""
    for (image_id,) in rows(store.path, "SELECT DISTINCT image_id FROM corrections"):
        for one in store.corrections(image_id):  # type: ignore[arg-type]
            state = store.reviewed(image_id, at=one.number)  # type: ignore[arg-type]
            assert state is not None
            labels, cells = masks_of(state)
            assert np.array_equal(labels > 0, cells > 0)
            assert [int(k) for k in np.unique(cells) if k] == [cell.cell_id for cell in state.cells]
            assert all(cell.area_px == np.count_nonzero(cells == cell.cell_id) for cell in state.cells)
            counted = 0 if one.rejected else len(state.cells)
            assert (one.wbc_count, state.wbc_count) == (counted, counted)
            assert state.wbc_count_inside == one.wbc_count_inside
    assert rows(store.path, "PRAGMA foreign_key_check") == []


KINDS = [
    (AWAY, 4, [(1, "automatic"), (2, "automatic"), (3, "automatic"), (4, "added")]),
    (RemoveCell(2), 2, [(1, "automatic"), (3, "automatic")]),
    (MergeCells((2, 1)), 2, [(1, "changed"), (3, "automatic")]),
    (SplitCell(3, ((195, 110), (206, 110))), 4, [*((k, "automatic") for k in (1, 2)), (3, "changed"), (4, "added")]),
    (Repaint((Stroke(((60, 60),), 5, 1, 1),)), 3, [(1, "changed"), (2, "automatic"), (3, "automatic")]),
    (Repaint((Stroke(((60, 140),), 9, 2),)), 4, [*((k, "automatic") for k in (1, 2, 3)), (4, "added")]),
    (RejectImage(), 0, []),
    (Accept(), 3, [(1, "automatic"), (2, "automatic"), (3, "automatic")]),
]


@pytest.mark.parametrize(("correction", "count", "cells"), KINDS, ids=lambda one: type(one).__name__)
def test_each_correction_counts_and_is_there_after_a_restart(
    room: Reviewing, correction: Correction, count: int, cells: list[tuple[int, str]]
) -> None:
    automatic = [rows(room.store.path, f"SELECT * FROM {table}") for table in ("analyses", "cells", "masks")]
    assert room.counts() == (3, None)
    outcome = room.say(correction, why="seen")
    assert outcome.refusal is None and outcome.written is not None and outcome.meanwhile == ()
    assert (outcome.state.wbc_count, outcome.state.number) == (count, 1)
    room.store.close()
    with closing(Store.open(room.store.path, clock=room.clock)) as again:
        assert state_of(again, 1) == outcome.state
        assert again.corrections(1) == (outcome.written,)
        room.store = again
        assert room.counts() == (3, count)
        assert room.sources() == cells
        consistent(again)
    kept = [rows(room.store.path, f"SELECT * FROM {table}") for table in ("analyses", "cells", "masks")]
    assert kept == automatic
    assert outcome.written.changed == (correction not in (RejectImage(), Accept()))


@pytest.mark.parametrize(
    ("correction", "flags"),
    [
        (Repaint((Stroke(((60, 60), (0, 60)), 8, 1, 1),)), {1: ("at-edge",)}),
        (AddCell(2, 140, 40), {4: ("at-edge",)}),
        (Repaint((Stroke(((60, 140),), 4, 2),)), {4: ("odd-size",)}),
        (RemoveCell(2), {}),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_a_person_drew_has_the_flags_of_any_other_cell(
    room: Reviewing, correction: Correction, flags: dict[int, tuple[str, ...]]
) -> None:
    state = room.say(correction).state
    assert {cell.cell_id: cell.flags for cell in state.cells if cell.source != "automatic"} == flags
    assert all(("at-edge" in cell.flags) == cell.touches_edge for cell in state.cells if cell.source != "automatic")


def test_random_corrections_agree_and_never_use_a_number_twice(room: Reviewing) -> None:
    chance = np.random.default_rng(5)
    known, gone, made = {1, 2, 3}, set(), 0
    for _ in range(30):
        now = [cell.cell_id for cell in room.state().cells]
        x, y = map(float, chance.uniform((0, 0), (240, 180)))
        some = [int(one) for one in chance.choice(now or [1], 2)]
        places = tuple((float(c), float(r)) for r, c in np.argwhere(masks_of(room.state())[1] == some[0])[::150])
        choices: list[Correction] = [AddCell(x, y, 20), RemoveCell(some[0]), MergeCells((some[0], some[1]))]
        choices += [Withdraw(), Repaint((Stroke(((x, y),), 6, 1), Stroke(((x, y), (y, x)), 2, 0)))]
        choices += [SplitCell(some[0], places)] if len(places) > 1 else []
        before = room.state()
        outcome = room.say(choices[int(chance.integers(len(choices)))])
        if outcome.written is None:
            assert outcome.state == room.state() == before
            continue
        made += 1
        ids = {cell.cell_id for cell in outcome.state.cells}
        fresh = ids - known
        assert outcome.written.kind == "withdraw" or not fresh & gone
        assert all(number < outcome.state.next_id for number in known | ids)
        gone |= known - ids
        known |= ids
    assert made > 10
    assert [one.number for one in room.store.corrections(1)] == list(range(1, made + 1))
    consistent(room.store)


# Two people


def test_a_correction_of_what_was_changed_meanwhile_is_made_and_says_who_changed_what(room: Reviewing) -> None:
    room.say(RemoveCell(2), "Ada", 0)
    outcome = room.say(AWAY, "Ben", 0)
    assert outcome.refusal is None and [cell.cell_id for cell in outcome.state.cells] == [1, 3, 4]
    assert [(one.who, one.kind) for one in outcome.meanwhile] == [("Ada", "remove")]
    assert outcome.words == "added a cell at (60, 140): 3 white cells; meanwhile Ada removed cell 2"
    assert [(one.who, one.number) for one in room.store.corrections(1)] == [("Ada", 1), ("Ben", 2)]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (RemoveCell(2), RemoveCell(2), "there is no cell 2 in this image, or no longer"),
        (AWAY, AWAY, "there is cell 4 already"),
        (MergeCells((1, 2)), SplitCell(2, ((100, 70), (110, 70))), "there is no cell 2"),
        (AWAY, Accept(), "changed since you looked"),
        (AWAY, Withdraw(), "changed since you looked"),
        (RejectImage(), AWAY, "is rejected; withdraw that first"),
        (RejectImage(), RejectImage(), "is rejected"),
    ],
)
def test_what_makes_no_sense_any_more_is_not_written_and_the_state_is_told(
    room: Reviewing, first: Correction, second: Correction, words: str
) -> None:
    done = room.say(first, "Ada", 0)
    outcome = room.say(second, "Ben", 0)
    assert outcome.written is None and outcome.refusal is not None and words in outcome.refusal
    assert outcome.state == done.state == room.state()
    assert [one.who for one in outcome.meanwhile] == ["Ada"] and "meanwhile Ada " in outcome.words
    assert len(room.store.corrections(1)) == 1


def test_a_correction_that_was_overtaken_between_reading_and_writing_is_made_again(
    room: Reviewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one commits at the worst moment: just before the first one's transaction begins."""
    append, rival = Store.append_correction, [RemoveCell(2)]

    def late(store: Store, made: NewCorrection) -> object:
        if rival:
            correct(store, 1, rival.pop(), "Ben")
        return append(store, made)

    monkeypatch.setattr(Store, "append_correction", late)
    outcome = room.say(AWAY, "Ada", 0)
    assert [cell.cell_id for cell in outcome.state.cells] == [1, 3, 4]
    assert [one.who for one in room.store.corrections(1)] == ["Ben", "Ada"]
    assert [one.who for one in outcome.meanwhile] == ["Ben"]
    consistent(room.store)


# Taking back


def test_withdrawing_goes_back_step_by_step_and_forgets_nothing(room: Reviewing) -> None:
    states = [room.state(), room.say(AWAY).state, room.say(RemoveCell(1)).state]
    for step, expected in ((1, 4), (0, None)):
        outcome = room.say(Withdraw(), "Ben")
        assert outcome.written is not None and outcome.written.detail == {"number": step + 1}
        assert outcome.state.cells == states[step].cells and outcome.state.cells_png == states[step].cells_png
        assert (outcome.state.changed, room.counts()) == (step > 0, (3, expected))
    assert room.sources() == [(1, "automatic"), (2, "automatic"), (3, "automatic")]
    refused = room.say(Withdraw())
    assert refused.written is None and "no correction that could be withdrawn" in str(refused.refusal)
    outcome = room.say(AWAY)  # after all, with a number that was never used
    assert [cell.cell_id for cell in outcome.state.cells] == [1, 2, 3, 5]
    room.say(RejectImage())
    assert room.say(Withdraw()).state.cells == outcome.state.cells
    kinds = [one.kind for one in room.store.corrections(1)]
    assert kinds == ["add", "remove", "withdraw", "withdraw", "add", "reject", "withdraw"]
    assert [one.stands for one in room.store.corrections(1)] == [1, 2, 1, 0, 5, 6, 5]


def test_what_was_taken_back_is_not_come_back_to(room: Reviewing) -> None:
    for correction in (AWAY, RemoveCell(1), Withdraw(), Accept(), Withdraw(), Withdraw()):
        assert room.say(correction).refusal is None
    assert [one.stands for one in room.store.corrections(1)] == [1, 2, 1, 4, 1, 0]
    assert [cell.cell_id for cell in room.state().cells] == [1, 2, 3]


def test_what_is_left_under_a_mark_is_the_newest_analysis(room: Reviewing) -> None:
    room.say(Flag())
    room.analyse_again()  # two cells, where there were three
    room.say(RemoveCell(1))
    outcome = room.say(Withdraw())
    assert outcome.words == "took correction 2 back: 2 white cells"
    assert room.store.corrections(1)[-1].wbc_count == 2 and room.counts() == (2, None)
    assert outcome.state.marked and outcome.state.stands == 1
    room.say(Withdraw())
    assert not room.state().marked and room.counts() == (2, None)


def test_a_corrected_line_of_the_report_tells_the_scale_of_what_was_corrected(room: Reviewing) -> None:
    room.say(Accept())
    room.analyse_again()
    (line,) = summarise(room.store, START.date(), START.date(), ZoneInfo("UTC")).images
    assert (line.count, line.cell_diameter_px) == (3, DIAMETER_PX)
    newest = rows(room.store.path, "SELECT cell_diameter_px FROM analyses ORDER BY id DESC LIMIT 1")
    assert newest != [(DIAMETER_PX,)]


# Marks, and a new analysis


def test_a_mark_for_review_goes_when_somebody_looks_and_comes_back_when_that_is_withdrawn(store: Store) -> None:
    for name, flags in (("a.bmp", (REVIEW,)), ("b.bmp", ("cell-at-edge",))):
        image_id = store.add_image(new(name)).image_id
        store.lease("w", 1)
        store.save_analysis(analysis(image_id, flags=flags))
    assert [state_of(store, k).marked for k in (1, 2)] == [True, False]
    correct(store, 1, Accept(), "Ada")
    assert not state_of(store, 1).marked
    correct(store, 1, Withdraw(), "Ada")
    assert state_of(store, 1).marked
    correct(store, 1, RejectImage(), "Ada")
    assert not state_of(store, 1).marked


def test_a_new_analysis_leaves_the_persons_result_and_asks_for_a_look_where_it_is_marked(room: Reviewing) -> None:
    first = room.say(AWAY).state
    room.analyse_again(flags=(REVIEW,))
    now = room.state()
    assert room.counts() == (3, 4)  # what the corrected analysis found; `stores.analysis`, the newest, has two cells
    assert (now.cells, now.analysis_id, now.seen_analysis_id, now.marked) == (first.cells, 1, 2, True)
    assert room.sources()[-1] == (4, "added")
    room.say(Accept())
    assert not room.state().marked and room.counts() == (3, 4)
    for _ in range(2):
        room.say(Withdraw())
    assert room.counts() == (2, None) and room.state().analysis_id == 2 and room.state().marked
    assert room.sources() == [(1, "automatic"), (2, "automatic")]


def test_an_analysis_that_comes_meanwhile_was_not_seen(room: Reviewing, monkeypatch: pytest.MonkeyPatch) -> None:
    append, rival = Store.append_correction, [lambda: room.analyse_again(flags=(REVIEW,))]

    def late(store: Store, made: NewCorrection) -> object:
        if rival:
            rival.pop()()
        return append(store, made)

    monkeypatch.setattr(Store, "append_correction", late)
    room.say(RejectImage())
    assert rows(room.store.path, "SELECT analysis_id, seen_analysis_id FROM corrections") == [(2, 1)]


def test_a_correction_by_somebody_who_saw_no_newer_analysis_leaves_its_mark_for_review(room: Reviewing) -> None:
    seen = room.say(Accept()).state.seen
    room.analyse_again(flags=(REVIEW,))
    assert room.say(RemoveCell(2), seen=seen).written is not None
    assert room.state().marked
    with pytest.raises(CorrectionError, match="marked for review: image 1;"):
        sign(room.store, "slide", "S-17", "Ada", ZoneInfo("UTC"))
    room.say(Accept())
    assert not room.state().marked
    unknown = replace(room.state().seen, newest_analysis_id=99)
    assert room.say(RemoveCell(3), seen=unknown).refusal == "image 1 has no analysis 99"


@pytest.mark.parametrize("correction", [RemoveCell(2), SplitCell(1, ((60, 60), (62, 60))), Accept(), AWAY])
def test_what_was_seen_before_another_analysis_is_not_corrected_in_it(room: Reviewing, correction: Correction) -> None:
    seen = room.state().seen
    room.analyse_again()
    told = room.say(correction, seen=seen)
    assert told.refusal == "the image was analysed again since you looked at it; look again"
    assert told.state.analysis_id == 2 and room.store.corrections(1) == ()
    assert room.say(RejectImage(), seen=seen).written is not None  # true of any cells


def test_an_analysis_between_look_and_word_is_no_race_that_a_cell_can_lose(
    room: Reviewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, rival = Store.append_correction, [room.analyse_again]

    def late(store: Store, made: NewCorrection) -> object:
        if rival:
            rival.pop()()
        return append(store, made)

    monkeypatch.setattr(Store, "append_correction", late)
    told = room.say(RemoveCell(2))
    assert told.written is None and "analysed again" in (told.refusal or "") and room.store.corrections(1) == ()


def test_the_persons_own_cells_are_corrected_on_whatever_was_analysed_since(room: Reviewing) -> None:
    seen = room.say(AWAY).state.seen
    room.analyse_again()
    assert room.say(RemoveCell(4), seen=seen).written is not None
    assert room.say(Accept(), seen=seen).refusal is not None


def test_a_flagged_image_waits_for_a_look(room: Reviewing) -> None:
    told = room.say(Flag(), why="smudge?")
    assert told.state.marked and told.state.wbc_count == 3 and not told.state.changed
    assert [line.marked for line in room.store.gallery(Sieve(marked=True), 9)] == [True]
    room.say(Accept(), "Bob")
    assert not room.state().marked and room.store.gallery(Sieve(marked=True), 9) == ()
    room.say(Withdraw(), "Bob")
    assert room.state().marked
    room.say(RemoveCell(1), "Bob")
    assert not room.state().marked


# Words, pictures, and what is not there


HOSTILE = ("<script>alert(1)</script>", "=cmd()|'x'", "'; DROP TABLE corrections; --", "Zoë\n\x1b[2J\x00‮", "名" * 300)


@pytest.mark.parametrize("text", HOSTILE)
def test_who_and_why_are_kept_as_they_were_told(room: Reviewing, text: str) -> None:
    room.say(Accept(), text, why=text)
    assert [(one.who, one.why) for one in room.store.corrections(1)] == [(text, text)]
    told = room.call("explain", 1)
    assert told.exit_code == 0 and not set(told.stdout) & set("\x1b\x00‮")
    (said,) = json.loads(room.call("explain", 1, "--json").stdout)["corrections"]
    assert (said["who"], said["why"], said["kind"]) == (text, text, "accept")


def test_a_name_that_is_no_text_is_written_with_escapes(room: Reviewing) -> None:
    assert room.say(Accept(), "A\udcff", why="\udcfe").written is not None
    assert room.say(Accept(), "\ud83d", why="half \ud83d\ude00 smile").written is not None
    told = [(one.who, one.why) for one in room.store.corrections(1)]
    assert told[0] == ("A\\xff", "\\xfe") and told[1] == ("\\ud83d", "half \\ud83d\\ude00 smile")
    assert sign(room.store, "slide", "S-17", "\ud83d", ZoneInfo("UTC")).who == "\\ud83d"


def test_nobody_and_nothing_are_refused(room: Reviewing, store: Store) -> None:
    with pytest.raises(CorrectionError, match="nobody is named"):
        room.say(Accept(), " \n")
    with pytest.raises(CorrectionError, match="there is no image 7 that was counted"):
        correct(room.store, 7, Accept(), "Ada")
    refused = room.say(Accept(), seen=3)
    assert refused.written is None and "none with the number 3" in str(refused.refusal)
    store.add_image(new("a.bmp"))
    with pytest.raises(CorrectionError, match="no image 1 that was counted"):
        correct(store, 1, Accept(), "Ada")
    assert room.store.corrections(1) == () and store.corrections(1) == ()


def test_a_new_cell_is_outlined_by_the_picture_where_a_file_still_holds_it(room: Reviewing) -> None:
    truth = room.state()
    room.say(RemoveCell(3))
    history = room.store.history(1)
    assert history is not None
    picture = picture_of(history, max_megapixels=50)
    assert picture is not None and picture.shape == (180, 240, 3)
    outcome = correct(room.store, 1, AddCell(203, 108), "Ada", image=picture)
    own, mine = masks_of(truth)[1] == 3, masks_of(outcome.state)[1] == 4
    assert 2 * np.count_nonzero(own & mine) / (np.count_nonzero(own) + np.count_nonzero(mine)) > 0.97
    (room.folder / "S-17" / "a.png").write_bytes(b"another picture")
    assert picture_of(history, max_megapixels=50) is None


# Retention


def test_masks_of_a_corrected_image_stay_until_the_image_goes(room: Reviewing) -> None:
    room.take("b.png", CELLS[:2])
    room.say(AWAY)
    late = START + timedelta(days=999)
    masks = "SELECT analysis_id FROM masks"
    pruned(room.store, plan(room.store, late))
    assert rows(room.store.path, masks) == [(1,)]
    room.store.remove_masks([1], late)  # planned before the correction was made
    assert rows(room.store.path, masks) == [(1,)]
    told = correct(room.store, 2, AWAY, "Ada")
    assert told.refusal is not None and "were pruned: it can be accepted or rejected" in told.refusal
    assert "redrawn; `station reanalyse` makes new ones" in told.refusal
    assert correct(room.store, 2, Accept(), "Ada").state.wbc_count == 2
    refused = correct(room.store, 2, AWAY, "Ada").refusal  # an accepted count stays, whatever is analysed anew
    assert refused is not None and "take back what was said of it (--withdraw), then `station reanalyse`" in refused
    for path in (room.folder / "S-17").iterdir():
        path.unlink()
    planned = plan(room.store, late, room.folder)
    assert [one.image_id for one in planned.images] == [1, 2]
    pruned(room.store, planned)
    for table in ("images", "analyses", "masks", "corrections", "reviewed_cells", "reviewed_masks"):
        assert rows(room.store.path, f"SELECT count(*) FROM {table}") == [(0,)], table
    assert rows(room.store.path, "PRAGMA foreign_key_check") == []


# Commands


COMMANDS = [
    (("--add", "60,140"), "correction 1 of image 1: added a cell at (60, 140): 4 white cells\n"),
    (("--remove", 2), "removed cell 2: 2 white cells"),
    (("--split", 3, "195,110", "206,110"), "split cell 3 into 2: 4 white cells"),
    (("--merge", 1, 2), "merged cells 1, 2: 2 white cells"),
    (("--reject",), "rejected the image: 0 white cells"),
    (("--accept",), "looked at it and found it right: 3 white cells"),
]


@pytest.mark.parametrize(("options", "words"), COMMANDS, ids=lambda one: str(one[0]))
def test_the_command_corrects_and_explain_lists_it(room: Reviewing, options: tuple[object, ...], words: str) -> None:
    told = room.call("correct", 1, *options, "--who", "Ada Weber", "--why", "looked")
    assert told.exit_code == 0 and words in told.stdout
    (one,) = room.store.corrections(1)
    assert (one.who, one.why) == ("Ada Weber", "looked")
    assert "Ada Weber " in room.call("explain", 1).stdout and " (looked); " in room.call("explain", 1).stdout
    assert room.call("correct", 1, "--withdraw").exit_code == 0
    assert room.counts() == (3, None) and room.store.corrections(1)[1].who


def test_a_mark_alone_keeps_no_count(room: Reviewing) -> None:
    """What was marked for a second look is counted anew like any other, until somebody says what counts."""
    for _ in range(2):
        assert room.say(Flag()).state.wbc_count == 3
    assert room.counts() == (3, None) and "counts by" not in room.call("explain", 1).stdout
    room.analyse_again()
    (line,) = room.store.review_lines(Slide("S-17"))
    assert (line.wbc_count, line.wbc_count_reviewed, line.flagged, line.marked) == (2, None, True, True)
    assert room.state().wbc_count == 2 and len(room.sources()) == 2 and room.counts() == (2, None)
    assert room.say(RemoveCell(2)).state.wbc_count == 1  # on what counts now
    room.say(Flag())
    room.analyse_again(settings="third")
    assert room.counts() == (2, 1)  # a person said so, and only asked for another look since
    for count in (1, None, None, None):  # the second mark, the removal, both first marks
        room.say(Withdraw())
        assert room.counts() == (2, count)
    (line,) = room.store.review_lines(Slide("S-17"))
    assert not line.flagged and room.state().stands == 0


@pytest.mark.parametrize("looks", [(Accept(),), (RejectImage(),), (Flag(), Accept()), (AWAY, RemoveCell(1))])
def test_a_look_that_was_taken_back_is_none_under_a_mark(room: Reviewing, looks: tuple[Correction, ...]) -> None:
    for said in looks:
        room.say(said)
    for _ in looks:
        room.say(Withdraw())
    room.say(Flag())
    assert room.counts() == (3, None) and not room.state().by_a_person
    room.analyse_again()
    (line,) = room.store.review_lines(Slide("S-17"))
    assert room.counts() == (2, None) and line.wbc_count_reviewed is None and line.flagged


def test_explain_lists_the_cells_that_count_since_a_correction(room: Reviewing) -> None:
    assert "counts by" not in room.call("explain", 1).stdout
    assert json.loads(room.call("explain", 1, "--json").stdout)["corrected"] is None
    assert room.call("correct", 1, "--split", 3, "195,110", "206,110").exit_code == 0
    assert room.call("correct", 1, "--remove", 2).exit_code == 0
    told = room.call("explain", 1).stdout.partition(" by starter 1: 3 cells, ")[2].splitlines()[1:]
    assert [(line.split()[1], line.rpartition(", ")[2]) for line in told] == [
        ("1", "as found"),
        ("3", "changed by hand"),
        ("4", "added by hand"),
    ]
    counted = json.loads(room.call("explain", 1, "--json").stdout)["corrected"]
    assert (counted["correction"], counted["wbc_count"], len(counted["cells"])) == (2, 3, 3)
    room.call("correct", 1, "--reject")
    assert ": rejected, none of its cells counts\n  cell 1 at" in room.call("explain", 1).stdout
    for _ in range(3):
        room.call("correct", 1, "--withdraw")
    assert "counts by" not in room.call("explain", 1).stdout


def test_the_command_says_why_nothing_was_written(room: Reviewing) -> None:
    told = room.call("correct", 1, "--remove", 9)
    assert told.exit_code == 1 and "nothing was written: there is no cell 9" in told.stderr
    told = room.call("correct", "nowhere.bmp", "--accept")
    assert told.exit_code == 1 and "there is no image nowhere.bmp" in told.stderr
    assert room.store.corrections(1) == ()


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--accept", "--reject"),
        ("--accept", "--flag"),
        ("--accept", "1,2"),
        ("--add", "here"),
        ("--add", "nan,2"),
        ("--split", 1, "60,60"),
        ("--split", 1, "60,60", "here"),
        ("--merge", 1),
        ("--merge", 1, "x"),
        ("--remove", 1, "--diameter", 30),
    ],
)
def test_the_command_used_wrongly_ends_with_2(room: Reviewing, options: tuple[object, ...]) -> None:
    assert room.call("correct", 1, *options).exit_code == 2
    assert room.store.corrections(1) == ()
