"""Counts the white blood cells of what a camera saves, and keeps the counts. Nothing that it sees is sent anywhere."""

import os

# Since 1.29 ONNX Runtime tells its maker of each model and session, unless this is there before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
