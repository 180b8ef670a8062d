"""Refuses every Keras backend but TensorFlow, before anything else is imported."""

import os

_REMEDY = (
    'Set the environment variable KERAS_BACKEND=tensorflow (or "backend": "tensorflow" in '
    "~/.keras/keras.json) before Keras is imported."
)


def require_tensorflow() -> None:
    """Raises ImportError, in one line, if Keras runs or would run on another backend."""
    wanted = os.environ.get("KERAS_BACKEND", "tensorflow")
    if wanted == "tensorflow":
        import keras

        wanted = keras.backend.backend()
    if wanted != "tensorflow":
        raise ImportError(f"keras_preresnet runs on TensorFlow; the Keras backend is set to {wanted!r}. {_REMEDY}")
