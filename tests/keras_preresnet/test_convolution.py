"""1x1 convolutions, strides and their gradients against TensorFlow's, and the layer against Keras's."""

from functools import partial

import keras
import pytest
import tensorflow as tf
from library_helpers import assert_close, normal

from keras_preresnet.convolution import Convolution, pointwise, subsample

TOLERANCE = {"float64": 1e-13, "float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}
every_width = pytest.mark.parametrize("widths", [(4, 16), (16, 4), (8, 8)], ids=str)
every_stride = pytest.mark.parametrize("strides", [1, 2, 3])


def stock(x, kernel, strides):
    """Float16 in float32: a processor without its instructions sums TensorFlow's gradient to the kernel in float16."""
    wide = tf.float32 if x.dtype == tf.float16 else x.dtype
    outputs = tf.nn.conv2d(tf.cast(x, wide), tf.cast(kernel, wide), strides, "SAME")
    return tf.cast(outputs, x.dtype)


def outputs_and_gradients(function, *tensors):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs = function(*tensors)
        loss = tf.reduce_sum(outputs * normal(*outputs.shape[1:], dtype=outputs.dtype, seed=3))
    return [outputs, *tape.gradient(loss, tensors)]


def gradients(function, *tensors):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = tf.reduce_sum(function(*tensors) ** 2)
    return tape.gradient(loss, tensors)


def second_derivatives(function, *tensors):
    with tf.GradientTape() as outer:
        outer.watch(tensors)
        with tf.GradientTape() as inner:
            inner.watch(tensors)
            loss = tf.reduce_sum(function(*tensors) ** 3)
        loss = sum(tf.reduce_sum(gradient**2) for gradient in inner.gradient(loss, tensors))
    return outer.gradient(loss, tensors)


def assert_alike(function, expected, *tensors, tolerance):
    """Outputs and gradients, eagerly, in a graph that does not know the number of images, and by XLA."""
    expected = outputs_and_gradients(expected, *tensors)
    x, *others = map(tf.TensorSpec.from_tensor, tensors)
    x = tf.TensorSpec([None, *x.shape[1:]], x.dtype)
    of_any_batch = tf.function(outputs_and_gradients).get_concrete_function(function, x, *others)
    assert_close(outputs_and_gradients(function, *tensors), expected, tolerance)
    assert_close(of_any_batch(*tensors), expected, tolerance)
    assert_close(tf.function(outputs_and_gradients, jit_compile=True)(function, *tensors), expected, tolerance)


@every_width
@every_stride
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_outputs_and_gradients_are_those_of_tensorflow(widths, strides, dtype):
    x, kernel = normal(3, 5, 6, widths[0], dtype=dtype), normal(1, 1, *widths, dtype=dtype, seed=1)
    convolve, expected = partial(pointwise, strides=strides), partial(stock, strides=strides)
    assert_alike(convolve, expected, x, kernel, tolerance=TOLERANCE[dtype])


@every_width
@every_stride
def test_it_has_second_derivatives(widths, strides):
    x, kernel = normal(3, 5, 6, widths[0], dtype="float64"), normal(1, 1, *widths, dtype="float64", seed=1)
    ours, expected = (
        second_derivatives(partial(convolve, strides=strides), x, kernel) for convolve in (pointwise, stock)
    )
    assert_close(ours, expected, 1e-12)


@every_stride
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [(6, 6), (5, 6), (7, 4), (1, 2)], ids=str)
def test_the_pixels_that_a_stride_reads_are_those_of_a_slice(strides, size, dtype):
    x = normal(3, *size, 4, dtype=dtype)
    assert_alike(lambda x: subsample(x, strides), lambda x: x[:, ::strides, ::strides, :], x, tolerance=0)


@every_stride
@pytest.mark.parametrize("size", [(6, 6), (5, 7), (1, 2)], ids=str)
def test_sides_may_be_unknown_and_smaller_than_the_stride(strides, size):
    x, kernel = normal(2, *size, 4), normal(1, 1, 4, 8, seed=1)
    spec = tf.TensorSpec([None, None, None, 4], "float32")
    for ours, expected, others in (
        (partial(subsample, strides=strides), lambda x: x[:, ::strides, ::strides, :], []),
        (partial(pointwise, strides=strides), partial(stock, strides=strides), [kernel]),
    ):
        specs = [spec, *map(tf.TensorSpec.from_tensor, others)]
        of_any_size = tf.function(gradients).get_concrete_function(ours, *specs)
        assert_close(of_any_size(x, *others), gradients(expected, x, *others))


def test_subsampling_has_second_derivatives():
    x = normal(3, 5, 6, 4, dtype="float64")
    assert_close(
        second_derivatives(lambda x: subsample(x, 2), x), second_derivatives(lambda x: x[:, ::2, ::2], x), 1e-14
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 1},
        {"kernel_size": 1, "strides": 2},
        {"kernel_size": 1, "strides": 2, "padding": "valid"},
        {"kernel_size": 1, "dilation_rate": 2},
        {"kernel_size": 1, "strides": (2, 1)},
        {"kernel_size": 1, "groups": 2},
        {"kernel_size": 3},
        {"kernel_size": 3, "strides": 2},
    ],
    ids=str,
)
def test_the_layer_equals_that_of_keras(arguments):
    layers = [make(8, **{"padding": "same", **arguments}) for make in (Convolution, keras.layers.Conv2D)]
    x = normal(2, 6, 6, 4)
    for layer in layers:
        layer.build(x.shape)
    layers[1].set_weights(layers[0].get_weights())
    gradients = []
    for layer in layers:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        gradients.append(tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)]))
    assert_close(gradients[0], gradients[1])


def test_it_computes_in_the_dtype_of_its_policy_and_comes_back_from_a_file(tmp_path):
    images = keras.Input((6, 6, 4))
    model = keras.Model(images, Convolution(8, 1, use_bias=False, dtype="mixed_bfloat16")(images))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = normal(2, 6, 6, 4)
    assert loaded(x).dtype == "bfloat16"
    assert type(loaded.layers[-1]) is Convolution
    assert_close(loaded(x), model(x), 0)
