"""Where a training starts: ImageNet weights in the encoder, random values, or a model that exists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from station.contract.bundle import Bundle, read_bundle
from trainer.backbones import WeightsError, backbone, weights_file
from trainer.learnt import learnt
from trainer.runs import temporary_folder
from trainer.unet import load_encoder


class Start(Protocol):
    """What `trainer fit` puts into a new model before the first step."""

    @property
    def words(self) -> str:
        """As the run's record and the model card say it."""
        ...

    @property
    def ancestry(self) -> tuple[str, ...]:
        """Hashes of the models that it descends from, the oldest first."""
        ...

    @property
    def learnt(self) -> frozenset[str]:
        """The pictures that those learnt from, as far as it is known."""
        ...

    @property
    def backbone(self) -> str | None:
        """The encoder that it demands, if it does."""
        ...

    def check(self, backbone_name: str) -> None:
        """Raise WeightsError, before any work, where this start does not fit the encoder."""
        ...

    def load_into(self, model: Any) -> None:
        """Set the weights of a Keras model of `trainer.unet.build`."""
        ...


@dataclass(frozen=True, slots=True)
class Encoder:
    """`--weights imagenet | none | FILE`: weights for the encoder, random values for the rest."""

    words: str
    weights_dir: Path | None = None
    ancestry: tuple[str, ...] = ()
    learnt: frozenset[str] = frozenset()
    backbone: str | None = None

    def check(self, backbone_name: str) -> None:
        weights_file(backbone(backbone_name), self.words, self.weights_dir)

    def load_into(self, model: Any) -> None:
        row = backbone(model.name)
        path = weights_file(row, self.words, self.weights_dir)
        if path:
            load_encoder(model, row, path)


@dataclass(frozen=True, slots=True)
class Kept:
    """`--resume RUN`: the run's own checkpoint brings all weights when the training is taken up."""

    words: str
    ancestry: tuple[str, ...]
    learnt: frozenset[str] = frozenset()
    backbone: str | None = None

    def check(self, backbone_name: str) -> None: ...

    def load_into(self, model: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Descendant:
    """`--from BUNDLE`: all weights of an exported model."""

    bundle: Bundle

    @property
    def words(self) -> str:
        return f"model {self.bundle.manifest.name} ({self.bundle.sha256[:12]})"

    @property
    def ancestry(self) -> tuple[str, ...]:
        return (*self.bundle.manifest.provenance.ancestry, self.bundle.sha256)

    @property
    def learnt(self) -> frozenset[str]:
        return learnt(self.bundle) or frozenset()

    @property
    def backbone(self) -> str | None:
        return self.bundle.manifest.provenance.backbone

    def check(self, backbone_name: str) -> None:
        if backbone_name != self.backbone:
            raise WeightsError(
                f"the model {self.bundle.manifest.name} has the backbone '{self.backbone}', not '{backbone_name}'; "
                "leave --backbone away"
            )
        if self.bundle.manifest.weights is None:
            raise WeightsError(f"the model {self.bundle.manifest.name} carries no weights to train from")

    def load_into(self, model: Any) -> None:
        import keras

        entry = self.bundle.manifest.weights
        assert entry is not None  # `check` came first
        with temporary_folder() as folder:
            path = folder / Path(entry.file).name
            path.write_bytes(self.bundle.files[entry.file])
            try:
                kept = keras.models.load_model(path, compile=False)
                model.set_weights([weight.astype(np.float32) for weight in kept.get_weights()])
            except (ValueError, TypeError, OSError) as cause:  # what Keras has for another version or another network
                raise WeightsError(
                    f"the weights of the {self.words} are not of today's network; start from ImageNet or random values"
                ) from cause


def descendant(path: Path) -> Descendant:
    """`--from PATH`. Raises BundleError where it is no bundle."""
    return Descendant(read_bundle(path))
