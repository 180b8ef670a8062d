"""1x1 convolutions and their gradients against TensorFlow's, and the layer against Keras's."""

import keras
import pytest
import tensorflow as tf
from library_helpers import assert_close, normal

from keras_preresnet.convolution import Convolution, pointwise

TOLERANCE = {"float64": 1e-13, "float32": 1e-5, "bfloat16": 1e-2}
every_width = pytest.mark.parametrize("widths", [(4, 16), (16, 4), (8, 8)], ids=str)


def stock(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def outputs_and_gradients(convolve, x, kernel):
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        outputs = convolve(x, kernel)
        loss = tf.reduce_sum(outputs * normal(*outputs.shape[1:], dtype=x.dtype, seed=3))
    return [outputs, *tape.gradient(loss, [x, kernel])]


@every_width
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_outputs_and_gradients_are_those_of_tensorflow(widths, dtype):
    x, kernel = normal(3, 5, 6, widths[0], dtype=dtype), normal(1, 1, *widths, dtype=dtype, seed=1)
    expected = outputs_and_gradients(stock, x, kernel)
    spec = tf.TensorSpec([None, 5, 6, widths[0]], dtype)
    in_graph = tf.function(outputs_and_gradients).get_concrete_function(
        pointwise, spec, tf.TensorSpec.from_tensor(kernel)
    )
    assert_close(outputs_and_gradients(pointwise, x, kernel), expected, TOLERANCE[dtype])
    assert_close(in_graph(x, kernel), expected, TOLERANCE[dtype])
    assert_close(tf.function(outputs_and_gradients, jit_compile=True)(pointwise, x, kernel), expected, TOLERANCE[dtype])


@every_width
def test_it_has_second_derivatives(widths):
    x, kernel = normal(3, 5, 6, widths[0], dtype="float64"), normal(1, 1, *widths, dtype="float64", seed=1)

    def penalty(convolve):
        with tf.GradientTape() as outer:
            outer.watch([x, kernel])
            with tf.GradientTape() as inner:
                inner.watch([x, kernel])
                loss = tf.reduce_sum(convolve(x, kernel) ** 3)
            loss = sum(tf.reduce_sum(gradient**2) for gradient in inner.gradient(loss, [x, kernel]))
        return outer.gradient(loss, [x, kernel])

    assert_close(penalty(pointwise), penalty(stock), 1e-12)


@pytest.mark.parametrize(
    "arguments",
    [{"kernel_size": 1}, {"kernel_size": 1, "strides": 2}, {"kernel_size": 1, "groups": 2}, {"kernel_size": 3}],
    ids=str,
)
def test_the_layer_equals_that_of_keras(arguments):
    layers = [make(8, padding="same", **arguments) for make in (Convolution, keras.layers.Conv2D)]
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
