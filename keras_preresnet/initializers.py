"""The paper's initial weights ([LUA])."""

import math

import keras
import tensorflow as tf


def kernel_initializer() -> keras.initializers.Initializer:
    """Convolutions: normal, untruncated, of deviation sqrt(2 / (k * k * n_out)). Each call draws differently."""
    return keras.initializers.VarianceScaling(scale=2.0, mode="fan_out", distribution="untruncated_normal")


def draw_stacked_kernels(shape: tuple[int, ...], dtype: str) -> tf.Tensor:
    """Returns kernels of several units, each drawn as by `kernel_initializer`: `(count, height, width, in, out)`.

    All at once: a thousand layers one by one take as long as building all else of their net.
    """
    _, height, width, _, filters = shape
    return keras.initializers.RandomNormal(stddev=math.sqrt(2 / (height * width * filters)))(shape, dtype)


def classifier_initializer() -> keras.initializers.Initializer:
    """Classifier: uniform in ±1 / sqrt(fan_in)."""
    return keras.initializers.VarianceScaling(scale=1 / 3, mode="fan_in", distribution="uniform")
