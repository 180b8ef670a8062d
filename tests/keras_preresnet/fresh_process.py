"""Run by test_saving.py in a process of its own: reads saved models and computes their outputs again.

Arguments: a folder of `<name>.keras`, `<name>.weights.h5` and `<name>.npz`, the latter with the input and the output.
"""

import sys
from pathlib import Path

import keras
import numpy as np

import keras_preresnet  # noqa: F401 - registers the layers.


def answer(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def check(file):
    """The saved model, and the same model after its weights were wiped out and loaded from the other file."""
    stored = np.load(file.with_suffix(".npz"))
    model = keras.saving.load_model(file)
    np.testing.assert_array_equal(answer(model, stored["x"]), stored["y"])
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    model.load_weights(file.with_suffix(".weights.h5"))
    np.testing.assert_array_equal(answer(model, stored["x"]), stored["y"])


def main():
    files = sorted(Path(sys.argv[1]).glob("*.keras"))
    for file in files:
        check(file)
        print("same", file.stem)


main()
