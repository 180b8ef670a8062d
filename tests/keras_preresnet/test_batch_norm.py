"""The gradient of BN and ReLU in two passes, against the formula and against TensorFlow's own kernels."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from library_helpers import assert_close, normal, numpy

from keras_preresnet import FusedBatchNormalization, batch_norm

EPSILON = 1e-3
TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)
# Pixels times images: 128, of which slices of 16 are added; 120, whose slices have 15 rows.
SHAPES = [(8, 4, 4, 3), (6, 5, 4, 3)]


@pytest.fixture
def any_size(monkeypatch):
    """Small tensors too have the gradient of large ones."""
    monkeypatch.setattr(batch_norm, "LARGE", 0)


def arguments(shape, dtype="float32"):
    """x, gamma and beta; no channel is centred."""
    channels = shape[-1:]
    return normal(*shape, dtype=dtype) * 2 + 1, 1 + normal(*channels, seed=1) / 4, normal(*channels, seed=2)


def outputs_and_gradients(x, gamma, beta, handed_on=True, **options):
    """Outputs and statistics, and gradients of a sum in which x is read a second time where it was handed on."""
    weights = [gamma, beta, tf.zeros_like(gamma), tf.ones_like(gamma)]
    with tf.GradientTape() as tape:
        tape.watch([x, gamma, beta])
        result = batch_norm.normalize(x, weights, EPSILON, **{"uses_batch": True, "relu": True, **options})
        loss = tf.reduce_sum(result.outputs * normal(*x.shape, dtype=x.dtype, seed=3))
        if handed_on:
            loss += tf.reduce_sum(result.inputs * normal(*x.shape, dtype=x.dtype, seed=4))
    return [result.outputs, result.mean, result.variance, *tape.gradient(loss, [x, gamma, beta])]


def by_the_formula(x, gamma, beta, handed_on):
    """The same in float64, through automatic differentiation."""
    x, gamma, beta = (tf.cast(value, "float64") for value in (x, gamma, beta))
    count = len(numpy(x).reshape(-1, x.shape[-1]))
    with tf.GradientTape() as tape:
        tape.watch([x, gamma, beta])
        mean = tf.reduce_mean(x, [0, 1, 2])
        variance = tf.reduce_mean(tf.square(x - mean), [0, 1, 2])
        outputs = tf.maximum((x - mean) / tf.sqrt(variance + EPSILON) * gamma + beta, 0)
        loss = tf.reduce_sum(outputs * normal(*x.shape, dtype="float64", seed=3))
        if handed_on:
            loss += tf.reduce_sum(x * normal(*x.shape, dtype="float64", seed=4))
    return [outputs, mean, variance * count / (count - 1), *tape.gradient(loss, [x, gamma, beta])]


def kernels(function, *values):
    """The operations of the graph of a function, but not those that XLA compiles."""
    return {op.type for op in tf.function(function).get_concrete_function(*values).graph.get_operations()}


@pytest.mark.usefixtures("any_size")
@every_dtype
@pytest.mark.parametrize("handed_on", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_formula(shape, handed_on, dtype):
    values = arguments(shape, dtype)
    actual = tf.function(outputs_and_gradients)(*values, handed_on)
    assert [value.dtype.name for value in actual] == [dtype, "float32", "float32", dtype, "float32", "float32"]
    assert_close(actual, by_the_formula(*values, handed_on), TOLERANCE[dtype])


@every_dtype
def test_the_outputs_are_those_of_the_kernel(dtype, monkeypatch):
    values = arguments((6, 5, 4, 3), dtype)
    expected = tf.function(outputs_and_gradients)(*values)
    monkeypatch.setattr(batch_norm, "LARGE", 0)
    actual = tf.function(outputs_and_gradients)(*values)
    assert_close(actual[:3], expected[:3], 0)
    assert_close(actual[3:], expected[3:], TOLERANCE[dtype])


@pytest.mark.usefixtures("any_size")
def test_eager_in_a_graph_and_under_xla():
    values = arguments((8, 4, 4, 3))
    expected = outputs_and_gradients(*values)
    assert_close(tf.function(outputs_and_gradients)(*values), expected, 1e-6)
    assert_close(tf.function(outputs_and_gradients, jit_compile=True)(*values), expected, 1e-5)


@pytest.mark.usefixtures("any_size")
def test_it_takes_the_place_of_three_kernels():
    """ReLU's gradient, that of batch norm, and the addition of what comes back from the second reader."""
    found = kernels(outputs_and_gradients, *arguments((8, 4, 4, 3)))
    assert not {"ReluGrad", "FusedBatchNormGradV3", "AddN"} & found


@pytest.mark.usefixtures("any_size")
def test_a_batch_of_unknown_size_is_taken_for_a_small_one():
    specs = tf.TensorSpec([None, 4, 4, 3]), tf.TensorSpec([3]), tf.TensorSpec([3])

    def gradients(x, gamma, beta):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = batch_norm.normalize(x, [gamma, beta, beta, gamma], EPSILON, True, True).outputs
        return tape.gradient(outputs, x)

    assert {"ReluGrad", "FusedBatchNormGradV3"} <= kernels(gradients, *specs)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("shape", [(3, 5, 7, 4), (1, 6, 6, 4)], ids=["105 pixels", "36 pixels"])
def test_pixels_that_cannot_be_cut_into_eight_have_the_gradients_of_tensorflow(shape):
    """A sum of fewer slices would be up to twice as large as x: writing and reading it costs what is to be saved."""
    values = arguments(shape)
    assert {"ReluGrad", "FusedBatchNormGradV3"} <= kernels(outputs_and_gradients, *values)
    assert_close(outputs_and_gradients(*values), by_the_formula(*values, True), TOLERANCE["float32"])


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((8, 32, 32, 16), {}),  # Half as many numbers as are large.
        ((16, 32, 32, 16), {"relu": False}),
        ((16, 32, 32, 16), {"uses_batch": False}),
    ],
    ids=["small", "without ReLU", "with the moving statistics"],
)
def test_everything_else_has_the_gradients_of_tensorflow(shape, options):
    found = kernels(lambda *v: outputs_and_gradients(*v, **options), *arguments(shape))
    assert "FusedBatchNormGradV3" in found
    assert ("ReluGrad" in found) == options.get("relu", True)


def test_a_large_tensor_does_not():
    assert "FusedBatchNormGradV3" not in kernels(outputs_and_gradients, *arguments((16, 32, 32, 16)))


def test_the_documentation_names_the_size_from_which_on_tensors_are_large():
    text = (Path(batch_norm.__file__).parents[1] / "docs" / "speed.md").read_text()
    assert f"of at least {batch_norm.LARGE:,} numbers" in text


def test_on_an_accelerator_a_large_tensor_too_has_the_gradients_of_tensorflow(monkeypatch):
    monkeypatch.setattr(batch_norm, "has_accelerator", lambda: True)
    found = kernels(outputs_and_gradients, *arguments((16, 32, 32, 16)))
    assert {"ReluGrad", "FusedBatchNormGradV3"} <= found


@pytest.mark.usefixtures("any_size")
def test_float64_goes_by_plain_operations():
    values = [tf.cast(value, "float64") for value in arguments((8, 4, 4, 3))]
    assert_close(tf.function(outputs_and_gradients)(*values), by_the_formula(*values, True), 1e-12)


@pytest.mark.usefixtures("any_size")
def test_the_layer_hands_its_inputs_on():
    layer = FusedBatchNormalization(momentum=0.75)
    x = arguments((8, 4, 4, 3))[0]
    outputs, inputs = layer(x, training=True, hand_on=True)
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    assert_close(inputs, x, 0)
    assert_close(outputs, tf.nn.relu((x - mean) / tf.sqrt(variance + layer.epsilon)))
    assert_close(layer.moving_mean, mean / 4)
    assert_close(layer.moving_variance, 0.75 + variance * 128 / 127 / 4)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "XLA"])
def test_rounding_to_bfloat16_is_that_of_a_cast(compiled):
    """Bit by bit: numbers of every exponent, ties, the largest ones, zeros, infinities, and NaN that stay NaN."""
    ours = tf.function(batch_norm._to_bfloat16, jit_compile=True) if compiled else batch_norm._to_bfloat16
    drawn = np.random.default_rng(0).integers(0, 2**32, 2**16, dtype=np.uint32)
    ties = (drawn[:4096] & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    ends = np.array([0, 1, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x007FFFFF, 0x00800000], np.uint32)
    bits = np.concatenate([drawn, ties, ends, ends | np.uint32(0x80000000)])
    values = bits.view(np.float32)
    values = values[~np.isnan(values) | ((bits & 0x007FFFFF) == 0x00400000)]
    found, expected = (
        tf.bitcast(convert(tf.constant(values)), tf.uint16).numpy()
        for convert in (ours, lambda x: tf.cast(x, tf.bfloat16))
    )
    is_nan = np.isnan(values)
    assert is_nan.sum() >= 2
    np.testing.assert_array_equal(found[~is_nan], expected[~is_nan])
    assert np.isnan(ours(tf.constant(values[is_nan])).numpy().astype(np.float32)).all()
