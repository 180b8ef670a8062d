"""Refuses every Keras backend but TensorFlow, before anything else is imported."""

import json
import os
import sys
from pathlib import Path


def require_tensorflow() -> None:
    """Raises ImportError, in one line, if Keras runs or would run on another backend."""
    backend = sys.modules["keras"].backend.backend() if "keras" in sys.modules else _configured()
    if backend != "tensorflow":
        raise ImportError(
            f"keras_preresnet runs on TensorFlow; the Keras backend is set to {backend!r}. Set the environment "
            'variable KERAS_BACKEND=tensorflow, or "backend": "tensorflow" in ~/.keras/keras.json, before the import.'
        )


def _configured():
    """What Keras would choose. Asking Keras itself would fail in its own words where that backend is not installed."""
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    file = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    try:
        return json.loads(file.read_text()).get("backend", "tensorflow")
    except (OSError, ValueError):  # Keras goes on without a file that it cannot read.
        return "tensorflow"
