"""Trains, compares and exports the networks that a station runs. Meets the station at its `contract`."""

import station  # noqa: F401  # before ONNX Runtime is loaded, which is told there to send nothing
