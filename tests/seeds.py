"""The same random numbers, without what that costs in TensorFlow."""

import random

import numpy as np


def draw_anew(seed: int) -> None:
    """Keras draws the seeds of weights and masks from Python's random numbers: the same ones from here on.

    `keras.utils.set_random_seed` does this too, and besides makes TensorFlow forget every operation that it has ready,
    a quarter of the time of the small tests. It is needed before `fit` on batches that are shuffled.
    """
    random.seed(seed)
    np.random.seed(seed)
