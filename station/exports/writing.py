"""An export from begin to finish: choose, gather picture by picture, write, and put the folder in its place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from station.commission import PSEUDONYM_SALT
from station.contract.decoding import decode
from station.contract.errors import CorrectionError, ImageError, StationError
from station.contract.headers import is_bare
from station.database.records import History
from station.database.review_records import Reviewed, ReviewLine
from station.database.store import Store
from station.exports import Item, Needs, Pixels, open_format
from station.exports.choosing import EVER, Left, Wanted, choose
from station.exports.folders import MANIFEST, named, need_place, whole
from station.exports.names import key_of, safe_stem, shown
from station.originals import content_of
from station.printing import plural
from station.reviewing import masks_of, state_of
from station.settings import Settings
from station.testset import TestSet, frozen
from station.version import package_version


@dataclass(slots=True)
class Tally:
    """What came into a folder."""

    folder: Path
    lines: Sequence[ReviewLine]  # of what was to come there
    written: list[ReviewLine] = field(default_factory=list)  # of what came
    held_back: bool = False  # the frozen test set, from which no model learns
    pictures: int = 0
    cells: int = 0
    looked_at: int = 0
    changed: int = 0
    corrections: int = 0
    models: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: list[Left] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Work:
    """What all pictures of an export have in common."""

    store: Store
    settings: Settings
    wanted: Wanted
    needs: Needs
    salt: str
    step: Callable[[int, int], None]  # pictures done, and in all


def export(
    store: Store,
    settings: Settings,
    wanted: Wanted,
    output: Path,
    now: datetime,
    *,
    overwrite: bool = False,
    step: Callable[[int, int], None] = lambda _done, _total: None,
    ready: Callable[[Sequence[Tally]], None] = lambda _tallies: None,
) -> tuple[Tally, ...]:
    """Write what is wanted into `output`; with a frozen test set, `training` writes that into `<output>-test`.

    `ready` is called when all is written, before it appears. Both appear whole or not at all. Raises StationError where
    nothing fits, or nothing can be written there.
    """
    output, style = named(output), open_format(wanted.style)
    test_set = frozen(store) if style.NEEDS.holds_tests_back else None
    choice = choose(store, wanted, settings.report.zone, style.NEEDS, test_set)
    aside = output.with_name(f"{output.name}-test")
    parts = [(output, choice.lines), (aside, choice.tests)]
    for place, lines in parts:
        if lines:
            need_place(place, settings.camera.folder, overwrite=overwrite)
    if style.NEEDS.holds_tests_back and not choice.tests and aside.exists():
        raise StationError(f"{aside} is of another export, and this one has no pictures to test on; move it away first")
    work = Work(store, settings, wanted, style.NEEDS, str(store.fact(PSEUDONYM_SALT) or ""), step)
    tallies = [Tally(place, lines, held_back=place == aside) for place, lines in parts if lines]
    tallies[0].left += choice.left
    with whole([tally.folder for tally in tallies]) as folders:
        for tally, folder in zip(tallies, folders, strict=True):
            style.write(_items(work, tally), folder)
            told = _manifest(work, tally, now, test_set)
            (folder / MANIFEST).write_text(json.dumps(told, indent=2), encoding="utf-8")
        _need_pictures(tallies)
        ready(tallies)
    return tuple(tallies)


def _need_pictures(tallies: Sequence[Tally]) -> None:
    """Raise StationError where nothing but losses would appear, or would take the place of an older export."""
    nothing = not any(tally.written for tally in tallies)
    for tally in tallies:
        lost = [one for one in tally.left if one.lost]
        older = tally.folder.is_dir() and any(tally.folder.iterdir())
        if lost and not tally.written and (nothing or older):
            stays = f"; {tally.folder} stays as it is" if older else ""
            raise StationError(
                f"none of {plural(len(lost), 'picture')} could be exported{stays}; the first, image "
                f"{lost[0].image_id} ({lost[0].path}): {lost[0].reason}"
            )


def _items(work: Work, tally: Tally) -> Iterator[Item]:
    """The pictures, tallied as they are handed out; what cannot be is left out with its reason."""
    for number, line in enumerate(tally.lines, start=1):
        try:
            history, state = _now(work.store, line.image_id)
            if state.rejected and work.needs.masks:
                tally.left.append(Left(line.image_id, line.path, "rejected"))
                continue
            item = _item(work, line, history, state)
        except StationError as cause:
            tally.left.append(Left(line.image_id, line.path, str(cause), lost=True))
        else:
            tally.written.append(line)
            _count(tally, item)
            yield item
        finally:
            work.step(number, len(tally.lines))


def _now(store: Store, image_id: int) -> tuple[History, Reviewed]:
    """A picture as it is now, not as it was when the export began. Raises CorrectionError where it was removed."""
    with store.at_one_moment() as still:
        history = still.history(image_id)
        if history is None:
            raise CorrectionError("was removed a moment ago")
        return history, state_of(still, image_id)


def _item(work: Work, line: ReviewLine, history: History, state: Reviewed) -> Item:
    show, key = shown(work.wanted.names, work.salt), key_of(history.sha256 or "", work.salt)
    name, analyses = Path(line.path).name, {one.analysis_id: one for one in history.analyses}
    begun = analyses[state.analysis_id]
    return Item(
        key=key,
        stem=safe_stem(name, key) if work.wanted.names else key,
        name=show(name),
        slide=show(line.slide),
        captured_at=line.captured_at.astimezone(work.settings.report.zone),
        model=begun.model,
        model_sha256=begun.model_sha256,
        wbc_count=begun.wbc_count,
        state=state,
        pixels=_pixels(work, history, state) if work.needs.masks else None,
        um_per_px=work.settings.camera.um_per_px,
    )


def _pixels(work: Work, history: History, state: Reviewed) -> Pixels:
    """Raises StationError where masks or file are gone, or do not fit each other."""
    labels, cells = masks_of(state)
    if not work.needs.picture:
        return Pixels(None, labels, cells)
    data = content_of(history)
    if data is None:
        raise ImageError("no file holds it any more; copy it back")
    image = decode(data, max_megapixels=work.settings.limits.max_megapixels)
    if image.shape[:2] != labels.shape:
        raise ImageError("its masks are of another size")
    return Pixels(image, labels, cells, data if is_bare(data) else None)


def _count(tally: Tally, item: Item) -> None:
    tally.pictures += 1
    tally.cells += len(item.cells)
    tally.looked_at += item.state.by_a_person
    tally.changed += item.state.changed
    tally.corrections += item.state.number
    tally.models[item.model, item.model_sha256] += 1


def _manifest(work: Work, tally: Tally, now: datetime, test_set: TestSet | None) -> dict[str, Any]:
    wanted, show = work.wanted, shown(work.wanted.names, work.salt)
    return {
        "export": wanted.style,
        "made_at": now.astimezone(work.settings.report.zone).isoformat(timespec="seconds"),
        "wbc_station": package_version(),
        "from": wanted.first.isoformat() if wanted.first != EVER[0] else None,
        "to": wanted.last.isoformat() if wanted.last != EVER[1] else None,
        "time_zone": work.settings.report.time_zone,
        "slide": None if wanted.slide is None else show(wanted.slide),
        "only_reviewed": wanted.reviewed,
        "names": wanted.names,
        "pictures": tally.pictures,
        "white_cells": tally.cells,
        "pictures_looked_at": tally.looked_at,
        "pictures_with_changed_cells": tally.changed,
        "corrections": tally.corrections,
        # Whose masks these were before they were corrected.
        "models": [{"name": name, "sha256": sha, "pictures": n} for (name, sha), n in sorted(tally.models.items())],
        "test_set_frozen_at": test_set and test_set.made_at.isoformat(timespec="seconds"),
        "left_out": [{"image_id": one.image_id, "reason": one.reason} for one in tally.left],
    }
