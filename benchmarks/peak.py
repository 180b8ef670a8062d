"""What the machine can do: large matrix products and 3x3 convolutions in TensorFlow, the fastest of several sizes."""

import numpy as np
import tensorflow as tf

from benchmarks.contestants import PEAKS
from benchmarks.worker import Job, Prepared, measured_rate


def prepare(job: Job) -> Prepared:
    """Takes the size that is fastest in a short trial."""
    dtype = tf.as_dtype(job.precision)
    make = _matrix_product if job.net == "matrix product" else _convolution
    trials = [make(size, dtype) for size in PEAKS[job.net]]
    step, multiply_adds = max(trials, key=lambda trial: _multiply_adds_a_second(*trial))
    return Prepared(step, {}, lambda: {"multiply_adds": multiply_adds})


def _multiply_adds_a_second(step, multiply_adds):
    return measured_rate(step, 0.5) * multiply_adds


def _matrix_product(side, dtype):
    matrix = tf.cast(np.random.default_rng(0).normal(size=(side, side)), dtype)
    return _compiled(lambda: matrix @ matrix), side**3


def _convolution(size, dtype):
    batch, side, channels = size
    images = tf.cast(np.random.default_rng(0).normal(size=(batch, side, side, channels)), dtype)
    kernel = tf.cast(np.random.default_rng(1).normal(size=(3, 3, channels, channels)), dtype)
    return _compiled(lambda: tf.nn.conv2d(images, kernel, 1, "SAME")), batch * side**2 * 9 * channels**2


def _compiled(operation):
    """A sum of the result is asked for: a result that nobody reads need not be there when a device returns."""
    function = tf.function(lambda: tf.reduce_sum(operation()[..., :1]), autograph=False)
    return lambda: float(function())
