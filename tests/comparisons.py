"""Comparisons that nobody trained: outcomes with made-up but likely figures, in a real ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trainer.ledger import Ledger, Request, Setting, Speed
from trainer.recipe import Recipe
from trainer.task import Epoch, Outcome, PictureScore, Task

PIXELS = 640 * 480
NUCLEUS, CYTOPLASM = 9000, 7000  # px of each picture

# backbone -> (start, share of a cell's pixels that is wrong, parameters, ms a picture)
NINE: Mapping[str, tuple[str, float, int, float]] = {
    "unet": ("none", 0.045, 1_950_000, 41.0),
    "mobilenet": ("imagenet", 0.026, 4_810_000, 22.4),
    "mobilenet_v2": ("imagenet", 0.024, 4_340_000, 19.8),
    "resnet18": ("none", 0.036, 14_300_000, 34.5),
    "resnet34": ("none", 0.034, 24_400_000, 52.0),
    "resnet50": ("none", 0.039, 32_600_000, 66.3),
    "resnet152": ("none", 0.042, 67_300_000, 141.0),
    "vgg16": ("none", 0.037, 18_900_000, 158.0),
    "vgg19": ("none", 0.038, 24_200_000, 187.5),
}


def setting(sources: Mapping[str, int] | None = None, created_at: str = "2026-11-24T20:00:00+00:00") -> Setting:
    sources = sources or {"bccd": 6, "zheng": 6}
    return Setting(
        id="5e77149c0de5" if created_at.startswith("2026-11") else "01d0c0a1e5ce",
        recipe=Recipe(name="station", backbone="unet", loss="cross_entropy", epochs=12, batch=8).model_dump_json(),
        data_sha256="ab" * 32,
        folds=3,
        cell_diameters=dict.fromkeys(sources, 75.0),
        sources=dict(sources),
        request=Request(data=("/nowhere",)),
        created_at=created_at,
        package_version="0.1.0",
    )


def task(backbone: str = "unet", loss: str = "dice", start: str = "none", fold: int = 1, seed: int = 0) -> Task:
    return Task(backbone=backbone, loss=loss, start=start, fold=fold, seed=seed)


def picture(wrong: int, dataset: str = "bccd", name: str = "a", counted: int = 1, true: int = 1) -> PictureScore:
    """A picture in which each class gave `wrong` px to each class next to it, from background inwards."""
    background = PIXELS - NUCLEUS - CYTOPLASM
    rows = ((background - wrong, wrong, 0), (wrong, CYTOPLASM - 2 * wrong, wrong), (0, wrong, NUCLEUS - wrong))
    return PictureScore(
        dataset=dataset,
        id=name,
        confusion=tuple(pixels for row in rows for pixels in row),
        wbc_count=counted,
        wbc_true=true,
        cell_diameter_px=75.0,
    )


def lopsided(one: PictureScore, invented: int, missed: int) -> PictureScore:
    """With so many px more of a nucleus where there is background, and of a nucleus that was missed."""
    changes = {0: -invented, 2: invented, 6: missed, 8: -missed}
    pixels = tuple(count + changes.get(place, 0) for place, count in enumerate(one.confusion))
    return one.model_copy(update={"confusion": pixels})


def outcome(own: Task, pictures: Sequence[PictureScore], scores: Sequence[float] = (0.6, 0.8, 0.7)) -> Outcome:
    curve = tuple(Epoch(epoch=i, mean_loss=1 / i, score=score, seconds=30.0) for i, score in enumerate(scores, start=1))
    return Outcome(
        task=own,
        best_epoch=1 + int(np.argmax(scores)),
        steps=100 * len(scores),
        parameters=NINE[own.backbone][2] if own.backbone in NINE else 1_000_000,
        seconds=30.0 * len(scores),
        pictures=tuple(pictures),
        curve=curve,
    )


def fabricated(own: Task, wrong: float, sources: Mapping[str, int], folds: int) -> Outcome:
    """A training whose pictures are wrong in about that share of a cell's pixels, and whose curve rises to it."""
    seed = [len(own.loss), own.fold, own.seed, *own.backbone.encode()]
    random = np.random.default_rng(seed)
    wrong *= random.uniform(0.85, 1.15)
    pictures = [
        lopsided(
            picture(
                wrong=int(wrong * (NUCLEUS + CYTOPLASM) * random.uniform(0.5, 1.6) / 3),
                dataset=dataset,
                name=f"{number:03d}",
                counted=1 + int(random.random() < wrong),
            ),
            *(int(pixels) for pixels in random.integers(0, 200, 2)),
        )
        for dataset, count in sources.items()
        for number in range(own.fold - 1, count, folds)
    ]
    epochs = np.arange(1, 13)
    scores = (1 - wrong) * (1 - 0.5 * np.exp(-epochs / 2.2)) - random.uniform(0, 0.02, 12)
    return outcome(own, pictures, [float(score) for score in scores[: random.integers(9, 13)]])


def fill(ledger: Ledger, comparison: Setting, losses: Sequence[str] = ("cross_entropy", "dice")) -> None:
    """All nine encoders: vgg19 failed on fold 3 with the Dice loss, nobody has measured resnet152's latency."""
    ledger.open_comparison(comparison)
    for number, loss in enumerate(losses):
        for backbone, (start, wrong, parameters, milliseconds) in NINE.items():
            for fold in range(1, comparison.folds + 1):
                own = task(backbone, loss, start, fold)
                if (backbone, loss, fold) == ("vgg19", "dice", 3):
                    ledger.fail(comparison.id, own, "its process was ended by signal 9")
                    continue
                worse = wrong * (1 + 0.15 * number)
                ledger.finish(comparison.id, fabricated(own, worse, comparison.sources, comparison.folds))
            if backbone != "resnet152":
                ledger.add_speed(comparison.id, speed(backbone, milliseconds, parameters))


def speed(backbone: str, milliseconds: float, parameters: int = 1_000_000) -> Speed:
    return Speed(
        backbone=backbone,
        engine="onnxruntime 1.30",
        machine="an Intel N100, 4 threads",
        picture="253x190",
        milliseconds=milliseconds,
        parameters=parameters,
    )


def made_ledger(runs: Path, comparison: Setting) -> Ledger:
    """`ledger.db` in that folder with all of `fill`."""
    ledger = Ledger(runs / "ledger.db")
    fill(ledger, comparison)
    return ledger
