"""Deep nets in a moment."""

from unittest import mock

import keras
import tensorflow as tf


def undrawn():
    """A scope in which kernels start at zero: drawing the weights of deep nets takes most of the time to build them."""
    zeros = lambda self, shape, dtype=None, **_: tf.zeros(shape, dtype)  # noqa: E731
    return mock.patch.object(keras.initializers.VarianceScaling, "__call__", zeros)
