"""The colour augmentation of [FB] (fb.resnet.torch) on one RGB image of 0 to 255: jitter and lighting, not clipped."""

import itertools

import numpy as np
import tensorflow as tf

JITTER = 0.4
LIGHTING_DEVIATION = 0.1
GREY = (0.299, 0.587, 0.114)
# Of the colours of ImageNet, on a scale of 0 to 1; a column is an eigenvector.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def colour_jitter(image: tf.Tensor, order: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast and saturation by up to `JITTER`, in random order.

    Each blends the image with another one, of weight 1 - alpha: with black, with its mean grey, with its greys.

    Args:
        image: float32 `(height, width, 3)`.
        order: float32 scalar, uniform in [0, 1): which of the six orders.
        strengths: float32 `(3,)`, uniform in [0, 1): of brightness, contrast and saturation.

    Returns:
        An image of the same shape and dtype, also with values beyond 0 and 255.
    """
    orders = list(itertools.permutations(range(3)))
    alphas = 1 + JITTER * (2 * strengths - 1)
    for kind in tf.unstack(tf.constant(orders)[tf.cast(order * len(orders), tf.int32)]):
        image = _blended(image, kind, alphas[kind])
    return image


def _blended(image, kind, alpha):
    others = (lambda: tf.zeros_like(image), lambda: _mean_grey(image), lambda: _greys(image))
    return alpha * image + (1 - alpha) * tf.switch_case(kind, others)


def _greys(image):
    return tf.broadcast_to(tf.tensordot(image, tf.constant(GREY), 1)[..., None], tf.shape(image))


def _mean_grey(image):
    return tf.fill(tf.shape(image), tf.reduce_mean(tf.tensordot(image, tf.constant(GREY), 1)))


def lighting(image: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Adds one colour to all pixels, random along the principal components of the colours of ImageNet.

    Args:
        image: float32 `(height, width, 3)`.
        draws: float32 `(3,)`, uniform in [0, 1), made normal by the inverse of the distribution function.
    """
    inner = tf.clip_by_value(draws, 2.0**-24, 1 - 2.0**-24)  # A draw of 0 would become minus infinity.
    normal = LIGHTING_DEVIATION * tf.math.ndtri(inner)
    components = tf.constant(255 * np.array(EIGENVECTORS) * EIGENVALUES, tf.float32)  # (colour, component)
    return image + tf.linalg.matvec(components, normal)
