"""What the mark for review catches: by hand, and `trainer evaluate --marks` on discs."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from composing import DIAMETER_PX, SET, put_discs
from networks import colour_network, tiny_bundle

from station.contract.bundle import write_bundle
from station.contract.flags import REVIEW
from trainer.cli import main
from trainer.composites import compose
from trainer.cutouts import stock
from trainer.marks import COMPOSED, TOLD, UNTOLD, Marked, MarkScore, mark_score, mark_scores, of_fields, of_pictures


def test_wrong_and_right_counts_are_told_apart() -> None:
    counts = [
        Marked(False, ("unsure", REVIEW)),
        Marked(False, ("crowded",)),
        Marked(True, ("unsure", REVIEW)),
        Marked(True, ("stain",)),
        Marked(True, ()),
    ]
    flags = {"crowded": (1, 0), "unsure": (1, 1), "stain": (0, 1)}
    assert mark_score(counts) == MarkScore(2, 1, 3, 1, flags)
    assert list(mark_score(counts).with_flag) == list(flags)  # the flags of wrong counts first
    assert mark_score([]) == MarkScore(0, 0, 0, 0, {})


def test_the_command_shows_composed_fields_and_pictures_told_and_not(tmp_path: Path) -> None:
    samples = put_discs(tmp_path / SET)
    write_bundle(tmp_path / "tiny.zip", tiny_bundle())
    line = ["evaluate", str(tmp_path / "tiny.zip"), str(tmp_path / SET), "--marks", "--fields", "6"]
    told = CliRunner().invoke(main, [*line, "--cell-diameter", f"{SET}={DIAMETER_PX}"], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    manifest, diameters = tiny_bundle().manifest, {SET: DIAMETER_PX}
    fields = (compose(seed, *stock(samples, diameters)) for seed in range(6))
    found = mark_scores(
        [
            *of_fields(fields, manifest, colour_network),
            *of_pictures(samples, diameters, manifest, colour_network),
        ]
    )
    assert list(found) == [(kind, scale) for kind in (COMPOSED, SET) for scale in (TOLD, UNTOLD)]
    assert [one.wrong + one.right for one in found.values()] == [6, 6, len(samples), len(samples)]
    assert found[SET, TOLD].wrong == 0
    (row,) = (words.split() for words in told.output.splitlines() if words.split()[:2] == [SET, "told"])
    assert row[2:6] == ["0", "–", str(len(samples)), "0"] and row[6] == "(0.0%)"
