"""What this machine computes on."""

import tensorflow as tf


def has_accelerator() -> bool:
    """Whether TensorFlow sees a GPU or a TPU."""
    return bool(tf.config.list_physical_devices("GPU") + tf.config.list_physical_devices("TPU"))
