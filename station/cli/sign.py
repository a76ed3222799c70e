"""`station sign`: a name under the numbers of a slide or a day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from station.cli.context import config_option, reading, settings_of, writing
from station.cli.correct import who_option
from station.contract.errors import CorrectionError
from station.database.review_records import Signature, Subject
from station.printing import PSEUDONYMS, plural, printable
from station.signing import SignatureState, scope_of, sign, signature_state
from station.watching import as_stored


@click.command("sign")
@click.option("--slide", metavar="NAME", help="A slide, by the name of its folder.")
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="A local day.")
@click.option("--show", is_flag=True, help="Only say whether it is signed, and what was changed since.")
@who_option
@config_option
def command(slide: str | None, day: datetime | None, show: bool, who: str, config: Path | None) -> None:
    """Sign a slide or a day: a name under its counts, its corrections and its model.

    Refused while one of its images is marked for review and nobody has looked at it, or is not counted yet. What is
    corrected, analysed or taken in later shows as a change. Sign again then; no signature is ever removed.

    \b
    Example:
      station sign --slide S-17 --who "A. Weber"
      station sign --date 2026-11-24 --show
    """
    if (slide is None) == (day is None):
        raise click.UsageError("say --slide or --date")
    subject: Subject = "slide" if slide is not None else "day"
    name = as_stored(slide) if slide is not None else f"{day:%Y-%m-%d}"
    settings = settings_of(config)
    if show:
        with reading(settings) as store:
            known = store.review_lines(scope_of(subject, name, settings.report.zone)) or store.signatures(subject, name)
            if not known:
                hint = f"; {PSEUDONYMS}" if subject == "slide" else ""
                raise CorrectionError(f"there is no image of the {subject} {name}{hint}")
            lines = list(_state(f"{subject} {name}", signature_state(store, subject, name, settings.report.zone)))
    else:
        with writing(settings) as store:
            lines = [f"signed: {_signature(sign(store, subject, name, who, settings.report.zone))}"]
    for line in lines:
        click.echo(printable(line))


def _state(what: str, state: SignatureState) -> Iterator[str]:
    if state.signature is None:
        yield f"{what}: unsigned"
        return
    yield f"{what}: {state.word}; {_signature(state.signature)}"
    yield from (f"  {line}" for line in state.differs)


def _signature(signature: Signature) -> str:
    told = signature.numbers
    cells = f"{plural(told['cells_reviewed'], 'white cell')} ({told['cells_automatic']} found automatically)"
    seen = f"{plural(told['images'], 'image')}, {told['images_changed']} changed, {told['images_rejected']} rejected"
    by = "; ".join(signature.models)
    return f"{signature.who}, {signature.signed_at:%Y-%m-%d %H:%M:%S} UTC: {cells} in {seen}; counted by {by}"
