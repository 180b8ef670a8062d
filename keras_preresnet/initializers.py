"""The paper's initial weights ([LUA])."""

import keras


def kernel_initializer() -> keras.initializers.Initializer:
    """Convolutions: normal, untruncated, of deviation sqrt(2 / (k * k * n_out)). Each call draws differently."""
    return keras.initializers.VarianceScaling(scale=2.0, mode="fan_out", distribution="untruncated_normal")


def classifier_initializer() -> keras.initializers.Initializer:
    """Classifier: uniform in ±1 / sqrt(fan_in)."""
    return keras.initializers.VarianceScaling(scale=1 / 3, mode="fan_in", distribution="uniform")
