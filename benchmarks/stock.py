"""The full pre-activation nets from stock Keras layers, one by one: what keras_preresnet is measured against."""

import keras

from keras_preresnet.depths import units_per_stage
from keras_preresnet.networks import FAMILIES


def _batch_norm_relu(x):
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return keras.layers.ReLU()(x)


def _convolution(x, filters, kernel_size, strides=1):
    if strides > 1 and kernel_size > 1:
        x = keras.layers.ZeroPadding2D(kernel_size // 2)(x)
    padding = "same" if strides == 1 else "valid"
    return keras.layers.Conv2D(filters, kernel_size, strides, padding=padding, use_bias=False)(x)


def _stem(images, family, width):
    if family == "cifar":
        return _batch_norm_relu(_convolution(images, width, 3))
    x = keras.layers.ZeroPadding2D(1)(_batch_norm_relu(_convolution(images, width, 7, 2)))
    return keras.layers.MaxPooling2D(3, 2)(x)


def _unit(x, filters, strides, branch, activated, stride_place):
    a = x if activated else _batch_norm_relu(x)
    widens = strides > 1 or x.shape[-1] != filters
    shortcut = _convolution(a, filters, 1, strides) if widens else x
    if branch == "basic":
        residual = _convolution(a, filters, 3, strides)
        residual = _convolution(_batch_norm_relu(residual), filters, 3)
    else:
        first, second = (strides, 1) if stride_place == "first" else (1, strides)
        residual = _convolution(a, filters // 4, 1, first)
        residual = _convolution(_batch_norm_relu(residual), filters // 4, 3, second)
        residual = _convolution(_batch_norm_relu(residual), filters, 1)
    return keras.layers.Add()([shortcut, residual])


def stock_preresnet(
    depth: int, branch: str, family: str = "cifar", input_shape: tuple | None = None, classes: int | None = None
) -> keras.Model:
    """Returns a net with projections, equal in weights to `PreResNet<depth>(widening="projection")`."""
    _, units = units_per_stage(family, depth, None, branch)
    row = FAMILIES[family]
    images = keras.Input(input_shape or row.input_shape)
    x = _stem(images, family, row.stem_width)
    for stage, count in enumerate(units):
        width = row.stem_width * 2**stage * (4 if branch == "bottleneck" else 1)
        for unit in range(count):
            first_of_net = stage == unit == 0
            strides = 2 if stage and not unit else 1
            x = _unit(x, width, strides, branch, activated=first_of_net, stride_place=row.stride_place)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(_batch_norm_relu(x))
    return keras.Model(images, keras.layers.Dense(classes or row.classes, dtype="float32")(x))
