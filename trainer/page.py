"""A comparison as one offline page, and several as Markdown: templates filled from results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trainer.charts import curves
from trainer.overlays import Gallery, Samples, gallery
from trainer.ranking import Standing
from trainer.results import APART, FIGURES, Results, facts, failed, from_words, incomplete, verdicts
from trainer.scatter import scatter
from trainer.tables import grids

PAGE_FILE = "index.html"

# What Markdown takes for markup in the middle of a line; cells of a table end at a bar.
_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\`*[]|"} | {"<": "&lt;", "&": "&amp;", "\n": " "})


def page(results: Results, galleries: Sequence[Gallery]) -> str:
    """HTML that needs nothing beside itself: no network, no script."""
    return (
        _environment(autoescape=True)
        .get_template("page.html.jinja")
        .render(
            **_content(results),
            rankings=[
                (grid, scatter(results, start)) for grid, start in zip(grids(results), results.starts, strict=False)
            ],
            tables=grids(results)[len(results.starts) :],
            curves=curves(results),
            galleries=galleries,
        )
    )


def markdown(compared: Sequence[Results], command: str) -> str:
    """Tables and verdicts of comparisons, under the command that wrote them."""
    chapters = [_content(results) | {"tables": grids(results)} for results in compared]
    template = _environment(autoescape=False).get_template("results.md.jinja")
    return template.render(command=Markup(command), chapters=chapters)


def galleries_of(results: Results, home: Path, samples: Samples) -> list[Gallery]:
    """Examples of the best network of each ranking, and of the picked one."""
    shown: dict[str, tuple[Standing, str]] = {}
    for start, own in results.rankings.items():
        shown[own[0].name] = own[0], f"best from {from_words(start)}"
    picked = results.picked()
    if picked:
        why = shown.get(picked.name, (picked, ""))[1]
        shown[picked.name] = picked, f"{why}, picked" if why else "picked"
    return [
        gallery(f"{one.name} ({why})", results.of(one), results.setting, home, samples) for one, why in shown.values()
    ]


def _content(results: Results) -> dict[str, object]:
    """What page and Markdown have in common."""
    return {
        "setting": results.setting,
        "recipe": results.recipe.name,
        "facts": facts(results),
        "verdicts": verdicts(results),
        "apart": APART if len(results.starts) > 1 else "",
        "notes": [note for note in (FIGURES, incomplete(results)) if note],
        "failures": failed(results),
        "losses": results.losses,
    }


def _environment(*, autoescape: bool) -> Environment:
    """Without autoescape every expression is escaped for Markdown."""
    return Environment(
        loader=PackageLoader("trainer", "pages"),
        autoescape=autoescape,
        finalize=None if autoescape else _plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _plain(value: object) -> str:
    """Text that Markdown shows as it is."""
    return value if isinstance(value, Markup) else str(value).translate(_MARKDOWN)
