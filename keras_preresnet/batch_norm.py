"""Batch normalization and ReLU as functions of tensors: the kernels behind `FusedBatchNormalization`."""

from typing import NamedTuple

import tensorflow as tf

from keras_preresnet.devices import has_accelerator

LARGE = 2**18  # Elements; what is smaller stays in a processor's cache, and gains nothing from passes saved.
SLICES = 8  # Of the pixels, added to one another: with fewer of them, their sum would be no small part of x.


class Normalized(NamedTuple):
    """What a kernel gives."""

    outputs: tf.Tensor
    inputs: tf.Tensor  # As they came: for what else reads them, see `_fused_with_relu`.
    mean: tf.Tensor  # Of the batch, if it was used.
    variance: tf.Tensor  # Unbiased.


def normalize(x: tf.Tensor, weights: list[tf.Tensor], epsilon: float, uses_batch: bool, relu: bool) -> Normalized:
    """Returns the normalized, and on request rectified, x.

    Args:
        x: `(batch, height, width, channels)`.
        weights: gamma, beta, moving mean, moving variance: in at least float32.
        epsilon: Added to the variance.
        uses_batch: Whether mean and variance are those of the batch, else the moving ones.
        relu: Whether ReLU follows.
    """
    if relu and uses_batch and _gains_from_fewer_passes(x):
        return Normalized(*_fused_with_relu(x, *weights[:2], epsilon))
    kernel = _plain if x.dtype == tf.float64 else _fused
    outputs, mean, variance = kernel(x, *weights, epsilon, uses_batch)
    return Normalized(tf.nn.relu(outputs) if relu else outputs, x, mean, variance)


def _gains_from_fewer_passes(x):
    """Whether x is a large tensor of a known shape, on a machine without an accelerator, whose kernels have no need."""
    if x.dtype == tf.float64 or not x.shape.is_fully_defined() or x.shape.num_elements() < LARGE:
        return False
    return _pixels(x) % SLICES == 0 and not has_accelerator()


def _pixels(x):
    """Of all images."""
    return x.shape.num_elements() // x.shape[-1]


def _fused(x, gamma, beta, moving_mean, moving_variance, epsilon, uses_batch):
    """TensorFlow's kernel."""
    nothing = tf.zeros([0], tf.float32)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=gamma,
        offset=beta,
        mean=nothing if uses_batch else moving_mean,
        variance=nothing if uses_batch else moving_variance,
        epsilon=epsilon,
        is_training=uses_batch,
    )
    return outputs, mean, variance


@tf.autograph.experimental.do_not_convert  # It would look through the decorator below.
def _fused_with_relu(x, gamma, beta, epsilon):
    """The same kernel and ReLU with a gradient of their own, which goes over memory twice and not four times.

    A training step on a CPU is bound by memory. TensorFlow's gradient of ReLU, that of batch norm and the addition of
    the shortcut's gradient are three kernels that read and write eleven times as many numbers as x has; it takes six.
    x is handed on, so that the gradient of whatever else reads it comes here and is added in passing.
    """

    @tf.custom_gradient
    def run(x, gamma, beta):
        """Returns the fields of `Normalized`."""
        outputs, mean, variance = _fused(x, gamma, beta, None, None, epsilon, True)
        outputs = tf.nn.relu(outputs)

        def gradient(of_outputs, of_inputs, *_):
            """Those of the statistics are left out, as TensorFlow's own kernel does."""
            return _gradient(of_outputs, of_inputs, x, gamma, beta, mean, variance, epsilon)

        return (outputs, tf.identity(x), mean, variance), gradient

    return run(x, gamma, beta)


def _gradient(of_outputs, of_inputs, x, gamma, beta, mean, variance, epsilon):
    """Gradients to x, gamma and beta: one pass for the sums over all pixels, and one for what needs them."""
    count = _pixels(x)
    inverse = tf.math.rsqrt(variance * ((count - 1) / count) + epsilon)
    scale = gamma * inverse
    partial = _partial_sums(of_outputs, x, mean, scale, beta)
    sums = tf.matmul(tf.ones([1, partial.shape[0]], partial.dtype), partial, name="sums")[0]
    of_beta, sum_of_products = tf.math.real(sums), tf.math.imag(sums)
    slope = inverse**2 * sum_of_products / count
    of_x = _pixelwise(of_outputs, of_inputs, x, mean, scale, beta, of_beta / count, slope)
    return of_x, inverse * sum_of_products, of_beta


@tf.function(jit_compile=True, autograph=False)
def _partial_sums(of_outputs, x, mean, scale, beta):
    """Sums of the passed gradient, and of its products with the centred x, as one complex number: `(rows, channels)`.

    XLA compiles the addition of a few slices into vector instructions on all cores, and a sum over an axis, or an
    addition of more slices, into neither; two real sums would become two passes.
    """
    shape = [SLICES, _pixels(x) // SLICES, x.shape[-1]]
    wide = [tf.cast(tensor, tf.float32) for tensor in (x, of_outputs)]  # Slices of bfloat16 XLA would round once more.
    parts = [tf.reshape(tensor, shape) for tensor in wide]
    total = 0.0
    for index in range(SLICES):
        centred, passed = _centred_and_passed(*(part[index] for part in parts), mean, scale, beta)
        total = total + tf.complex(passed, passed * centred)
    return total


@tf.function(jit_compile=True, autograph=False)
def _pixelwise(of_outputs, of_inputs, x, mean, scale, beta, mean_passed, slope):
    """The gradient to x, with that of whatever else reads x."""
    centred, passed = _centred_and_passed(x, of_outputs, mean, scale, beta)
    of_x = scale * (passed - mean_passed - centred * slope) + tf.cast(of_inputs, tf.float32)
    return _to_bfloat16(of_x) if x.dtype == tf.bfloat16 else tf.cast(of_x, x.dtype)


def _centred_and_passed(x, of_outputs, mean, scale, beta):
    """x without its mean, and the gradient where ReLU let x pass, in float32."""
    centred = tf.cast(x, tf.float32) - mean
    return centred, tf.where(centred * scale + beta > 0, tf.cast(of_outputs, tf.float32), 0.0)


def _to_bfloat16(x):
    """What `tf.cast` gives, rounded to nearest even, in fewer instructions than XLA's, which treat each NaN apart.

    Here a NaN stays one if it comes of arithmetic or of a bfloat16; another, made by hand, may become infinity or zero.
    """
    bits, width = tf.bitcast(x, tf.uint32), tf.constant(16, tf.uint32)
    odd = tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, width), tf.constant(1, tf.uint32))
    rounded = tf.bitwise.right_shift(bits + tf.constant(0x7FFF, tf.uint32) + odd, width)
    return tf.bitcast(tf.cast(rounded, tf.uint16), tf.bfloat16)


def _plain(x, gamma, beta, moving_mean, moving_variance, epsilon, uses_batch):
    """The same in plain operations, for float64."""
    mean, biased = tf.nn.moments(x, axes=[0, 1, 2]) if uses_batch else (moving_mean, moving_variance)
    outputs = tf.nn.batch_normalization(x, mean, biased, beta, gamma, epsilon)
    count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), x.dtype)
    return outputs, mean, biased * count / tf.maximum(count - 1, 1)


def normalize_over_replicas(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float, relu: bool) -> Normalized:
    """Returns the same with statistics of the images of all replicas, in at least float32.

    The deviations are summed in a second reduction: the mean of x² less the squared mean would cancel digits.
    """

    def over_all_replicas(sums):
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, sums)

    wide = tf.cast(x, gamma.dtype)
    count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), gamma.dtype)
    total, count = over_all_replicas([tf.reduce_sum(wide, [0, 1, 2]), count])
    mean = total / count
    squares = over_all_replicas(tf.reduce_sum(tf.square(wide - mean), [0, 1, 2]))
    outputs = tf.cast(tf.nn.batch_normalization(wide, mean, squares / count, beta, gamma, epsilon), x.dtype)
    return Normalized(tf.nn.relu(outputs) if relu else outputs, x, mean, squares / tf.maximum(count - 1, 1))
