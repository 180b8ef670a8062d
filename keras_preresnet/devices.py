"""What this machine computes on."""

import tensorflow as tf


def has_accelerator() -> bool:
    """Whether TensorFlow sees a GPU or a TPU that the user has not hidden from it."""
    return bool(tf.config.get_visible_devices("GPU") + tf.config.get_visible_devices("TPU"))
