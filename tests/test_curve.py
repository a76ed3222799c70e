"""The learning curve as a picture: every epoch is in it, the best one is marked, odd histories can be drawn too."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from trainer.axes import framed, ticks
from trainer.curve import curve

SVG = "{http://www.w3.org/2000/svg}"


def rows(*scores: float, rate: float = 1e-3) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "loss": 1 / epoch, "score": score, "learning_rate": rate / epoch}
        for epoch, score in enumerate(scores, start=1)
    ]


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def test_score_loss_and_rate_have_a_point_for_each_epoch_and_the_best_is_marked() -> None:
    picture = ElementTree.fromstring(curve("run 7", rows(0.5, 0.8, 0.97, 0.96), best_epoch=3))
    score, loss, rate = (points(line) for line in picture.iter(f"{SVG}polyline"))
    assert len(score) == len(loss) == len(rate) == 4
    assert all(left < right for (left, _), (right, _) in pairwise(score))
    heights = [y for _, y in score]
    assert heights[0] > heights[1] > heights[3] > heights[2]  # the better, the higher up
    assert all(above < below for (_, above), (_, below) in pairwise(loss))  # it falls
    kept = [
        (float(c.attrib["cx"]), float(c.attrib["cy"])) for c in picture.iter(f"{SVG}circle") if c.get("class") == "kept"
    ]
    assert kept == [score[2], loss[2], rate[2]]
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert texts[0] == "run 7"
    assert "score on held-out pictures, best 0.9700 in epoch 3" in texts


@pytest.mark.parametrize(
    ("history", "best"),
    [
        (rows(0.5), 1),
        (rows(0.0), 1),
        (rows(0.99, 0.995), 2),
        (rows(0.5, 0.4, rate=0.0), 0),
        (rows(*[0.9] * 300, rate=1e-9), 1),
    ],
)
def test_everything_lies_inside_the_picture(history: list[dict[str, float]], best: int) -> None:
    picture = ElementTree.fromstring(curve("x", history, best))
    height = float(picture.attrib["height"])
    for group in picture.iter(f"{SVG}g"):
        down = float(group.attrib["transform"].removeprefix("translate(0,").removesuffix(")"))
        for line in group.iter(f"{SVG}polyline"):
            assert len(points(line)) == len(history)
            assert all(56 <= x <= 624 and 0 <= down + y <= height for x, y in points(line))


def test_a_run_without_a_best_epoch_has_no_mark() -> None:
    text = curve("x", rows(0.2, 0.1), best_epoch=0)
    assert 'class="kept"' not in text and "best 0" not in text


def test_a_name_is_no_markup() -> None:
    picture = ElementTree.fromstring(curve("a<b>&c", rows(0.5), 1))
    assert next(picture.iter(f"{SVG}title")).text == "a<b>&c"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 1.0, ["0.90", "0.92", "0.94", "0.96", "0.98", "1.00"]),
        (0.0, 1.05e-3, ["0.0000", "0.0005", "0.0010"]),
        (0.0, 5e-5, ["0", "1e-05", "2e-05", "3e-05", "4e-05", "5e-05"]),
        (0.0, 12.0, ["0", "5", "10"]),
    ],
)
def test_ticks_are_written_alike_and_tell_each_other_apart(low: float, high: float, expected: list[str]) -> None:
    frame = framed((100, 100), (0, 0, 0, 0), (0, 1), (low, high))
    assert [tick.text for tick in frame.y_ticks] == expected
    assert [tick.at for tick in frame.y_ticks] == [frame.y(value) for value in ticks(low, high)]
