"""Tables, Markdown and the page of a comparison: every figure against the ledger's own rows, every name escaped."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shlex
import sqlite3
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean, stdev

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from comparisons import NINE, fabricated, made_ledger, outcome, picture, setting, speed, task
from numpy.typing import NDArray

from station.contract.bundle import MODEL_CARD, read_bundle
from station.contract.overlay import NUCLEUS_COLOUR
from station.demo.smear import SmearRecipe, paint
from station.registry import starter_path
from trainer.axes import ticks
from trainer.cli import main
from trainer.ledger import Ledger, Pick
from trainer.overlays import TRUTH_COLOUR, extremes, outlined

LOSSES = ("cross_entropy", "dice")
NETWORKS = [(backbone, loss, NINE[backbone][0]) for backbone, loss in itertools.product(NINE, LOSSES)]
VOID = {"meta", "img", "line", "path", "polyline", "circle", "br", "link", "input"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with an older, empty comparison and one of nine encoders and two losses, picked and nearly whole."""
    folder = tmp_path_factory.mktemp("runs")
    ledger = made_ledger(folder, setting())
    ledger.open_comparison(setting(created_at="2025-01-01T00:00:00+00:00"))
    pick = Pick(
        backbone="resnet18",
        loss="dice",
        start="none",
        rule="speed",
        reason="because it is told so",
        picked_at="2026-11-25T08:00:00+00:00",
    )
    ledger.add_pick(setting().id, pick)
    ledger.close()
    return folder


def results(runs: Path, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["results", "--runs", str(runs), *map(str, arguments)])


@pytest.fixture(scope="module")
def markdown(runs: Path) -> str:
    shown = results(runs, "--markdown")
    assert shown.exit_code == 0, shown.output
    return shown.output


@pytest.fixture(scope="module")
def page(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "index.html"
    shown = results(runs, "--page", path)
    assert shown.exit_code == 0, shown.output
    return path.read_text(encoding="utf-8")


def cells(markdown: str, title: str) -> list[list[str]]:
    """The rows of the Markdown table under a title, without bold."""
    table = markdown.partition(f"### {title}")[2].partition("###")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("**", "") for cell in line.strip("|").split("|")] for line in lines[2:]]


def row(markdown: str, title: str, *words: str) -> list[str]:
    (found,) = [own for own in cells(markdown, title) if set(words) <= set(own)]
    return found


def matrices(runs: Path, backbone: str, loss: str) -> dict[tuple[int, str], NDArray[np.int64]]:
    """(fold, data set) -> confusion matrix summed over the pictures, straight from the file."""
    query = "select fold, dataset, confusion from pictures where backbone = ? and loss = ?"
    found: dict[tuple[int, str], NDArray[np.int64]] = {}
    with sqlite3.connect(runs / "ledger.db") as ledger:
        for fold, dataset, text in ledger.execute(query, (backbone, loss)):
            found[fold, dataset] = found.get((fold, dataset), 0) + np.array(json.loads(text)).reshape(3, 3)
    return found


def words(values: list[float]) -> str:
    return f"{fmean(values):.4f} ± {stdev(values):.4f}"


@pytest.mark.parametrize(("backbone", "loss"), [("resnet34", "dice"), ("mobilenet", "cross_entropy")])
def test_both_tables_say_what_the_rows_of_the_ledger_come_to(
    runs: Path, markdown: str, backbone: str, loss: str
) -> None:
    figures: dict[str, list[float]] = {}
    own = matrices(runs, backbone, loss)
    for fold in (1, 2, 3):
        both: dict[str, list[float]] = {}
        for dataset in ("bccd", "zheng"):
            m = own[fold, dataset]
            for name, inside in (("nucleus", [2]), ("cytoplasm", [1])):
                hit, said, true = m[inside, inside].sum(), m[:, inside].sum(), m[inside].sum()
                both.setdefault(f"{name} precision", []).append(hit / said)
                both.setdefault(f"{name} F", []).append(2 * hit / (said + true))
                both.setdefault(f"{name} sensitivity", []).append(hit / true)
                both.setdefault(f"{name} specificity", []).append(1 - (said - hit) / (m.sum() - true))
                both.setdefault(f"{name} IoU", []).append(hit / (said + true - hit))
            both.setdefault("cell", []).append(2 * m[1:, 1:].sum() / (m[:, 1:].sum() + m[1:].sum()))
        for name, values in both.items():
            figures.setdefault(name, []).append(fmean(values))
    regions = ("nucleus", "cytoplasm")
    first = row(markdown, f"Table 1, loss {loss}", backbone)
    assert first[2:6] == [words(figures[f"{region} {one}"]) for region in regions for one in ("precision", "F")]
    second = row(markdown, f"Table 2, loss {loss}", backbone)
    metrics = ("sensitivity", "specificity", "IoU")
    assert second[2:8] == [words(figures[f"{region} {one}"]) for region in regions for one in metrics]
    start = "ImageNet weights" if NINE[backbone][0] == "imagenet" else "random values"
    ranked = row(markdown, f"Ranking, from {start}", backbone, loss)
    assert ranked[4] == words(figures["cell"])
    assert ranked[7:9] == [f"{NINE[backbone][2] / 1e6:.2f}", f"{NINE[backbone][3]:.1f}"]


def test_the_figures_of_one_data_set_are_from_its_pictures(runs: Path, markdown: str) -> None:
    own = matrices(runs, "vgg16", "dice")
    dice = [2 * m[2, 2] / (m[:, 2].sum() + m[2].sum()) for m in (own[fold, "zheng"] for fold in (1, 2, 3))]
    assert row(markdown, "Pictures of zheng alone", "vgg16", "dice")[3] == words(dice)


def test_starts_are_ranked_apart_and_it_is_said(markdown: str) -> None:
    imagenet, random = (cells(markdown, f"Ranking, from {words}") for words in ("ImageNet weights", "random values"))
    assert {one[1] for one in imagenet} == {"mobilenet", "mobilenet_v2"}
    assert {one[1].rstrip(" †") for one in random} == set(NINE) - {"mobilenet", "mobilenet_v2"}
    assert [one[0].rstrip("\\*") for one in random] == [*(str(place) for place in range(1, 14)), "–"]
    scores = [float(one[3].split()[0]) for one in random[:-1]]
    assert scores == sorted(scores, reverse=True)
    assert "are ranked apart" in markdown


def test_who_was_not_tested_on_every_fold_is_shown_marked_and_not_ranked(markdown: str) -> None:
    last = cells(markdown, "Ranking, from random values")[-1]
    assert last[:3] == ["–", "vgg19 †", "dice"]
    assert "Not ranked, as not tested on every fold: vgg19, dice, start none: 2 of 3 trainings." in markdown
    assert "failed: vgg19-dice-none-fold3-seed0: its process was ended by signal 9" in markdown


def test_the_best_of_a_column_is_marked_among_the_ranked_of_one_start(markdown: str) -> None:
    table = markdown.partition("### Table 1, loss dice")[2].partition("###")[0]
    bold = {
        own[1].strip() for own in (line.split("|") for line in table.splitlines()) if len(own) > 4 and "**" in own[4]
    }
    f_scores = {one[0]: float(one[3].split()[0]) for one in cells(markdown, "Table 1, loss dice")}
    best_random = max((name for name in NINE if NINE[name][0] == "none" and name != "vgg19"), key=f_scores.__getitem__)
    best_imagenet = max(("mobilenet", "mobilenet_v2"), key=f_scores.__getitem__)
    assert bold == {best_random, best_imagenet}


def test_who_is_not_ranked_takes_no_mark_from_the_ranked(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.open_comparison(setting())
    for backbone, wrong in (("unet", (900, 900)), ("vgg16", (800, 800)), ("vgg19", (90,))):  # most sat both folds
        for fold, pixels in enumerate(wrong, start=1):
            ledger.finish(setting().id, outcome(task(backbone, fold=fold), [picture(pixels)]))
    markdown = results(tmp_path, "--markdown").output
    table = markdown.partition("### Table 1, loss dice")[2].partition("###")[0]
    assert [line.split("|")[1].strip() for line in table.splitlines() if "**" in line] == ["vgg16"]


def test_the_setting_the_front_and_the_pick_are_told(markdown: str) -> None:
    for words in (
        "recipe: station, digest ",
        "at most 1200 optimizer steps of 8 pictures of 192 px",
        "bccd, 6 pictures, cells of 75 px; zheng, 6 pictures, cells of 75 px",
        "3 by group, 53 of 54 trained over all networks; 1 seed",
        "The scale of a test picture was told, not estimated: from the set's own masks",
        "53 finished, 1 failed",
        "onnxruntime 1.30 on an Intel N100, 4 threads, a picture of 253x190 px",
        "wbc-station 0.1.0, begun 2026-11-24T20:00:00+00:00",
        "Pareto front, the fastest first: mobilenet_v2",
        "Picked on 2026-11-25 by the rule 'speed': because it is told so.",
    ):
        assert words in markdown


def test_the_markdown_names_the_command_that_makes_it_again(runs: Path, markdown: str) -> None:
    told = re.search(r"Made by `(.*?)`", markdown)
    assert told is not None
    command = shlex.split(told[1])
    assert command[0] == "trainer"
    assert CliRunner().invoke(main, command[1:]).output == markdown


def test_several_comparisons_go_into_one_file(runs: Path, tmp_path: Path, markdown: str) -> None:
    path = tmp_path / "RESULTS.md"
    assert results(runs, "5e77", "01d0", "--markdown", "-o", path).exit_code == 0
    text = path.read_text(encoding="utf-8")
    assert text.count("## Comparison ") == 2 and "## Comparison 01d0c0a1e5ce" in text
    assert text.partition("## ")[2].startswith(markdown.partition("## ")[2].rstrip())


def test_the_terminal_shows_the_same_tables_as_plain_aligned_lines(runs: Path, markdown: str) -> None:
    text = results(runs).output
    line = next(line for line in text.splitlines() if "resnet34" in line and "dice" in line)
    score = row(markdown, "Ranking, from random values", "resnet34", "dice")[3]
    assert score.replace("± ", "±") in line
    assert not set("│┃━─") & set(text)
    for backbone, loss, _ in NETWORKS:
        assert re.search(rf"{backbone} .*{loss} ", text)


class Balance(HTMLParser):
    """Collects elements, and whatever is opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> Balance:
    parser = Balance()
    parser.feed(page)
    assert not parser.open
    return parser


def test_the_page_needs_nothing_beside_itself(page: str) -> None:
    assert not re.search(r"https?://|//[a-z]+\.|url\(|@import", page)
    for tag, attributes in parsed(page).seen:
        assert tag not in {"script", "link", "iframe", "object"}
        assert not any(name.startswith("on") or name == "href" for name in attributes)
        assert (attributes.get("src") or "data:").startswith("data:")


def test_the_page_names_every_network_and_its_score(page: str, markdown: str) -> None:
    text = parsed(page).text
    for backbone, loss, start in NETWORKS:
        ranking = f"Ranking, from {'ImageNet weights' if start == 'imagenet' else 'random values'}"
        name = f"{backbone} †" if (backbone, loss) == ("vgg19", "dice") else backbone
        assert f"{name}{loss}{row(markdown, ranking, name, loss)[3]}" in text


def test_the_page_draws_every_training_and_every_latency(page: str) -> None:
    plots = page.split('<figure class="plot">')
    assert len(plots) == 3
    dots = [len(re.findall(r"<g><title>.*?, start ", plot)) for plot in plots[1:]]
    assert dots == [4, 11]  # 13 of random values are ranked, resnet152 is not measured
    missing = re.search(r"Latency not measured: (.*?)\.<", plots[2])
    assert missing and set(missing[1].split("; ")) == {f"resnet152, {loss}, start none" for loss in LOSSES}
    curves = page.partition('<div class="panels">')[2]
    assert curves.count("<figure>") - curves.partition("</section>")[2].count("<figure>") == 9
    assert len(re.findall(r"<title>(?:cross_entropy|dice), fold \d, seed 0", curves)) == 53
    assert "nan" not in page.lower()


def test_every_point_lies_in_its_drawing(page: str) -> None:
    for width, height, drawing in re.findall(r'<svg viewBox="0 0 (\d+) (\d+)" role="img"(.*?)</figure>', page, re.S):
        for x, y in re.findall(r'<circle class="marker[^"]*" cx="([\d.-]+)" cy="([\d.-]+)"', drawing):
            assert 0 <= float(x) <= int(width) and 0 <= float(y) <= int(height)
        for x, y in re.findall(r'<path class="marker[^>]*translate\(([\d.-]+),([\d.-]+)\)', drawing.split("</svg>")[0]):
            assert 0 <= float(x) <= int(width) and 0 <= float(y) <= int(height)


def test_the_page_says_where_pictures_are_missing_and_shows_the_rest(page: str) -> None:
    assert page.count("Not shown: its picture is not where the comparison had it.") == 9
    assert "resnet18, dice, start none (picked)" in page


HOSTILE = "<b>|`*&"


def test_names_of_folders_and_pictures_are_shown_as_they_are(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    own = setting({HOSTILE: 3, "zheng": 3})
    ledger.open_comparison(own)
    for fold in (1, 2, 3):
        trained = fabricated(task(fold=fold), 0.1, own.sources, 3)
        named = tuple(p.model_copy(update={"id": f"<i>{p.id}"}) for p in trained.pictures)
        ledger.finish(own.id, trained.model_copy(update={"pictures": named}))
    ledger.fail(own.id, task("vgg16"), "<script>alert(1)</script>")
    assert results(tmp_path, "--page", tmp_path / "index.html").exit_code == 0
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    seen = parsed(page)
    assert not {"b", "i", "script"} & {tag for tag, attributes in seen.seen if not attributes.get("class")}
    assert f"Pictures of {HOSTILE} alone" in seen.text and "<i>000" in seen.text
    assert "<script>alert(1)</script>" in seen.text
    markdown = results(tmp_path, "--markdown").output
    assert "Pictures of &lt;b>\\|\\`\\*&amp; alone" in markdown
    assert not re.search(r"<(b|i|script)>", markdown)


def test_a_comparison_without_any_outcome_has_a_page_too(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.db").open_comparison(setting())
    shown = results(tmp_path, "--page", tmp_path / "index.html")
    assert shown.exit_code == 0, shown.output
    assert "No training has finished yet." in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "0 finished, 0 failed" in results(tmp_path, "--markdown").output


def test_one_training_alone_is_shown_without_deviation_or_mark(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.open_comparison(setting())
    ledger.finish(setting().id, outcome(task(), [picture(90, "bccd"), picture(180, "zheng")]))
    markdown = results(tmp_path, "--markdown").output
    assert row(markdown, "Table 1, loss dice", "unet")[3] == "0.9850"
    assert "**" not in markdown and "are ranked apart" not in markdown
    assert results(tmp_path, "--page", tmp_path / "index.html").exit_code == 0


def test_a_training_beyond_the_others_changes_no_figure_and_is_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.open_comparison(setting())
    for backbone, fold in itertools.product(("unet", "vgg16"), (1, 2, 3)):
        ledger.finish(setting().id, fabricated(task(backbone, fold=fold), 0.1, setting().sources, 3))
    before = results(tmp_path, "--markdown").output
    assert "3 by group, all trained; 1 seed" in before and "left out" not in before
    ledger.finish(setting().id, fabricated(task("unet", fold=1, seed=1), 0.5, setting().sources, 3))
    after = results(tmp_path, "--markdown").output
    assert "most networks share; 1 further trainings are left out" in after
    assert after.partition("### ")[2] == before.partition("### ")[2]


def test_folds_that_are_data_sets_are_called_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    own = setting().model_copy(update={"division": "sets", "folds": 2})
    ledger.open_comparison(own)
    for fold, name in enumerate(sorted(own.sources), start=1):
        ledger.finish(
            own.id, fabricated(task(fold=fold), 0.1, {name: 6}, 1).model_copy(update={"task": task(fold=fold)})
        )
    markdown = results(tmp_path, "--markdown").output
    assert "2 by data set, each left out once, all trained; 1 seed" in markdown
    assert "by group" not in markdown


def test_latencies_of_two_machines_do_not_stand_side_by_side(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.open_comparison(setting())
    for backbone, ms in (("unet", 40.0), ("vgg16", 90.0)):
        for fold in (1, 2, 3):
            ledger.finish(setting().id, fabricated(task(backbone, fold=fold), 0.1, setting().sources, 3))
        measured = speed(backbone, ms).model_copy(update={"machine": f"the machine of {backbone}"})
        ledger.add_speed(setting().id, measured)
    markdown = results(tmp_path, "--markdown").output
    shown = {one[1]: one[-1] for one in cells(markdown, "Ranking, from random values")}
    assert shown == {"unet": "–", "vgg16": "90.0"}
    assert "on the machine of vgg16" in markdown and "on another machine: unet" in markdown


def test_a_bundle_tells_from_its_card_how_it_was_made_and_scored(runs: Path) -> None:
    told = results(runs, "--markdown", "--model", starter_path()).output
    section = told[told.index("## The model starter (") :]
    card = read_bundle(starter_path()).files[MODEL_CARD].decode().partition("## Not good for")[0]
    figures = [line for line in card.splitlines() if line.startswith("| ")]
    assert figures and all(line in section for line in figures)
    assert "### Training" in section and "Not good for" not in section


def test_a_failure_leaves_the_file_of_results_as_it_was(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("kept")
    assert results(runs, "--markdown", "--model", "no-such-run", "-o", path).exit_code != 0
    assert path.read_text() == "kept"


@pytest.mark.parametrize("place", ["x.html", "new/x.html"])
@pytest.mark.parametrize("option", ["--page", "-o"])
def test_a_file_where_a_folder_should_be_is_a_sentence(runs: Path, tmp_path: Path, option: str, place: str) -> None:
    (tmp_path / "plainfile").write_text("")
    shown = results(runs, option, tmp_path / "plainfile" / place)
    assert isinstance(shown.exception, SystemExit)
    assert shown.exit_code == 1 and f"{tmp_path / 'plainfile' / place} cannot be written" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ffff"], "there is no comparison 'ffff'; known: 01d0c0a1e5ce (2025-01-01), 5e77149c0de5 (2026-11-24)"),
        ([""], "several comparisons begin with ''"),
        (["5e77", "01d0", "--page", "x.html"], "--page shows one comparison"),
        (["--runs", "/nowhere/at/all"], "there is no ledger /nowhere/at/all/ledger.db: run `trainer compare`"),
        (["-o", "/nowhere/at/all"], "/nowhere/at/all cannot be written"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(runs: Path, arguments: list[str], said: str) -> None:
    shown = results(runs, *arguments)
    assert isinstance(shown.exception, SystemExit)
    assert shown.exit_code != 0 and said in shown.stderr


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 210, [0, 50, 100, 150, 200]),
        (0.958, 0.98, [0.96, 0.965, 0.97, 0.975, 0.98]),
        (1, 12.3, [5, 10]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_the_extremes_are_by_the_dice_of_the_whole_cell() -> None:
    pictures = [picture(wrong, name=str(wrong)) for wrong in (500, 10, 300, 100, 200)]
    nothing = picture(0, name="empty").model_copy(update={"confusion": (9, 0, 0, 0, 0, 0, 0, 0, 0)})
    found = extremes([outcome(task(fold=1), [*pictures[:2], nothing]), outcome(task(fold=2), pictures[2:])])
    assert [(place, own.id, of.task.fold) for place, of, own in found] == [
        ("best", "10", 1),
        ("median", "200", 2),
        ("worst", "500", 1),
    ]
    assert [place for place, *_ in extremes([outcome(task(), pictures[:2])])] == ["best", "worst"]
    assert extremes([outcome(task(), [nothing])]) == []


def test_outlines_lie_where_truth_and_network_have_theirs() -> None:
    truth, predicted = np.zeros((2, 100, 200), np.uint8)
    truth[20:80, 20:80], predicted[20:80, 120:180] = 1, 2
    shown = outlined(np.full((100, 200, 3), 120, np.uint8), truth, predicted)
    assert shown.shape == (240, 480, 3)  # small pictures are enlarged
    blue, yellow = (np.abs(shown.astype(int) - colour).sum(axis=-1) < 60 for colour in (TRUTH_COLOUR, NUCLEUS_COLOUR))
    assert blue[:, :240].any() and not blue[:, 240:].any()
    assert yellow[:, 240:].any() and not yellow[:, :240].any()
    assert (shown[120, 120] == 120).all()


TINY = """
name = "tiny"
backbone = "unet"
cell_diameter_px = 32
crop_px = 64
batch = 2
steps_per_epoch = 2
epochs = 1
held_out = 0.25
painted_fields = 1
bn_batches = 1
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with data and runs after `trainer compare` went through, and what that printed."""
    pytest.importorskip("keras", reason="the extra train is not installed")
    folder = tmp_path_factory.mktemp("compared")
    for kind in ("images", "masks"):
        (folder / "<b>" / kind).mkdir(parents=True)
    for seed in range(6):
        field = paint(SmearRecipe(width=160, height=120, cell_diameter_px=50, wbc=2, seed=seed))
        assert cv2.imwrite(str(folder / "<b>/images" / f"{seed}.png"), np.ascontiguousarray(field.image[..., ::-1]))
        assert cv2.imwrite(str(folder / "<b>/masks" / f"{seed}.png"), field.labels)
    (folder / "tiny.toml").write_text(TINY)
    arguments = f"--backbones unet --losses dice --folds 2 --weights none --recipe {folder}/tiny.toml".split()
    done = CliRunner().invoke(main, ["compare", str(folder / "<b>"), *arguments, "--runs", str(folder / "runs")])
    assert done.exit_code == 0, done.output
    return folder, done.output


def test_a_comparison_ends_with_its_tables_and_its_page(compared: tuple[Path, str]) -> None:
    folder, output = compared
    assert "Table 1, loss dice" in output and "Table 2, loss dice" in output
    (path,) = folder.glob("runs/compare-*/index.html")
    assert f"page: {path}" in output
    page = path.read_text(encoding="utf-8")
    assert len(page) < 3_000_000
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 3
    for text in pictures:
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None and decoded.shape == (360, 480, 3)
    parsed(page)


def test_a_page_on_another_machine_says_what_is_missing(compared: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = compared
    path = tmp_path / "index.html"
    weights = list(folder.glob("runs/compare-*/*/best.weights.h5"))
    assert len(weights) == 2

    def missing() -> list[str]:
        assert results(folder / "runs", "--page", path).exit_code == 0
        return re.findall(r"Not shown: (.*?)\.</p>", path.read_text(encoding="utf-8"))

    assert missing() == []
    kept = {file: file.read_bytes() for file in weights}
    for file in weights:
        file.write_bytes(b"no weights")
    assert len(found := missing()) == 3 and all("does not hold the weights of &#39;unet&#39;" in one for one in found)
    for file in weights:
        file.unlink()
    assert len(found := missing()) == 3 and all("are not on this machine" in one for one in found)
    for file, data in kept.items():
        file.write_bytes(data)
    for mask in (folder / "<b>" / "masks").iterdir():
        labels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        labels[0, 0] = 2 - labels[0, 0]
        assert cv2.imwrite(str(mask), labels)
    assert len(found := missing()) == 3 and all("is not the mask that was scored" in one for one in found)
