"""The full pre-activation CIFAR nets from stock Keras layers, one by one: what keras_preresnet is measured against."""

import keras

from keras_preresnet.depths import units_per_stage


def _batch_norm_relu(x):
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return keras.layers.ReLU()(x)


def _convolution(x, filters, kernel_size, strides=1):
    if strides > 1 and kernel_size > 1:
        x = keras.layers.ZeroPadding2D(kernel_size // 2)(x)
    padding = "same" if strides == 1 else "valid"
    return keras.layers.Conv2D(filters, kernel_size, strides, padding=padding, use_bias=False)(x)


def _unit(x, filters, strides, branch, activated):
    a = x if activated else _batch_norm_relu(x)
    widens = strides > 1 or x.shape[-1] != filters
    shortcut = _convolution(a, filters, 1, strides) if widens else x
    if branch == "basic":
        residual = _convolution(a, filters, 3, strides)
        residual = _convolution(_batch_norm_relu(residual), filters, 3)
    else:
        residual = _convolution(a, filters // 4, 1, strides)
        residual = _convolution(_batch_norm_relu(residual), filters // 4, 3)
        residual = _convolution(_batch_norm_relu(residual), filters, 1)
    return keras.layers.Add()([shortcut, residual])


def stock_preresnet(depth: int, branch: str) -> keras.Model:
    """Returns a CIFAR net with projections, equal in weights to `PreResNet<depth>(widening="projection")`."""
    _, units = units_per_stage("cifar", depth, None, branch)
    images = keras.Input((32, 32, 3))
    x = _batch_norm_relu(_convolution(images, 16, 3))
    for stage, count in enumerate(units):
        width = 16 * 2**stage * (4 if branch == "bottleneck" else 1)
        for unit in range(count):
            first_of_net = stage == unit == 0
            x = _unit(x, width, 2 if stage and not unit else 1, branch, activated=first_of_net)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(_batch_norm_relu(x))
    return keras.Model(images, keras.layers.Dense(10, dtype="float32")(x))
