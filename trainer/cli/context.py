"""What several commands share: arguments, how samples and diameters are read, what must be installed."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from station.contract.errors import StationError
from trainer.device import BACKEND_SETTINGS

if TYPE_CHECKING:
    from trainer.datasets.samples import Sample


class TrainingMissing(StationError):
    """The extra that trains is not installed."""


TRAINING = ("keras",)
EXPORTING = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxslim")

data_argument = click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
runs_option = click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of training runs."
)
threads_option = click.option(
    "--threads", type=click.IntRange(0, 256), default=0, help="Threads of ONNX Runtime; 0 = all cores."
)
splits_option = click.option(
    "--splits",
    type=click.Path(path_type=Path),
    help="CSV with dataset,image,role,group; only rows of the role are used.",
)
cell_diameter_option = click.option(
    "--cell-diameter",
    multiple=True,
    metavar="[SET=]PX",
    help="Apparent cell diameter of a data set, px; default: the median measured from its masks.",
)


def layout_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--layout, --palette and --tolerance, handed to the command as one word `layout` (see trainer.datasets)."""

    @click.option("--layout", help="Layout of DATA; by default the first that recognises the folder.")
    @click.option(
        "--palette", metavar="VALUE=NAME,...", help="What mask values mean: background, cytoplasm, nucleus, ..."
    )
    @click.option("--tolerance", type=click.IntRange(0, 127), help="Of --palette, per channel.")
    @wraps(command)
    def told(*arguments: Any, layout: str | None, palette: str | None, tolerance: int | None, **others: Any) -> Any:
        return command(*arguments, layout=_layout_word(layout, palette, tolerance), **others)

    return told


def _layout_word(layout: str | None, palette: str | None, tolerance: int | None) -> str | None:
    if palette is None:
        if tolerance is not None:
            raise click.UsageError("--tolerance belongs to a --palette")
        return layout
    from trainer.datasets.encodings import MaskError, palette_of

    text = palette if tolerance is None else f"{palette}~{tolerance}"
    try:
        return f"{layout or 'palette'}:{palette_of(text)}"
    except MaskError as cause:
        raise click.UsageError(str(cause)) from cause


def demand_named(bundle: Path, option: str) -> Path:
    """The same. Raises UsageError for the empty word that "$(station model path)" leaves behind where it fails."""
    if bundle == Path():
        raise click.UsageError(f"{option} names no file; `station model path` needs its --config where none lies here")
    return bundle


def need(*modules: str) -> None:
    """Raise TrainingMissing where the extra `train` is not installed; keep TensorFlow's start quiet where it is.

    Raises ConversionError where a network is to be exported and Keras was told another backend: before the training
    that comes first, not after it.
    """
    if missing := [name for name in modules if find_spec(name) is None]:
        raise TrainingMissing(
            f"this needs {', '.join(missing)}, which the station alone does not: pip install 'wbc-station[train]' "
            "(in a clone: pip install '.[train]')"
        )
    if "tf2onnx" in modules:
        from trainer.conversion import check_backend

        check_backend(os.environ.get("KERAS_BACKEND", "tensorflow"))
    for name, value in BACKEND_SETTINGS.items():
        os.environ.setdefault(name, value)


def warn(text: str) -> None:
    """Something that stops no command, and that its user should know."""
    click.echo(f"warning: {text}", err=True)


def samples_of(
    data: Sequence[Path], layout: str | None, splits: Path | None, role: Literal["train", "val"]
) -> list[Sample]:
    from trainer.datasets import open_datasets
    from trainer.datasets.samples import in_role

    found = open_datasets(data, layout, warn)
    return in_role(found, splits, role) if splits else found


def diameters_of(samples: Sequence[Sample], told: Sequence[str]) -> dict[str, float]:
    """Cell diameter per data set: told as SET=PX or PX, else measured."""
    from trainer.datasets.samples import grouped, median_diameter

    sets = grouped(samples)
    try:
        pairs = {name: float(px) for name, _, px in (text.rpartition("=") for text in told)}
    except ValueError as cause:
        raise click.BadParameter(f"{cause}; use --cell-diameter SET=PX") from cause
    unknown = pairs.keys() - {"", *sets}
    if unknown or not all(4 <= px <= 2000 for px in pairs.values()):
        problem = f"there is no set '{min(unknown)}'" if unknown else "a cell diameter lies between 4 and 2000 px"
        raise click.BadParameter(f"{problem}; use --cell-diameter SET=PX with SET one of {', '.join(sets)}")
    return {name: pairs.get(name) or pairs.get("") or median_diameter(own) for name, own in sets.items()}


def model_name(output: Path, name: str | None) -> str:
    """The name in the manifest, refused before any work is done for it."""
    chosen = name or output.stem
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", chosen):
        raise click.UsageError(f"a model cannot be called '{chosen}': letters, digits, dot, dash and underscore only")
    if not output.absolute().parent.is_dir():
        raise click.UsageError(f"there is no folder {output.absolute().parent} for the bundle")
    if output.is_dir():
        raise click.UsageError(f"{output} is a folder; name the file of the bundle, as {output / 'my-model.zip'}")
    return chosen


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first asks to end after the epoch, the second ends at once."""
    pressed = threading.Event()

    def ask(*_: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)
        click.echo("ending after this epoch; Ctrl-C again ends at once", err=True)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def given(*names: str) -> list[str]:
    """Those of the parameters that the user gave, as options."""
    context = click.get_current_context()
    told = [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    return [param.opts[0] for param in context.command.params if param.name in told]
