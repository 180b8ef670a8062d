"""The table of designs, and the fused batch normalization against plain operations, stock Keras and hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import assert_close, assert_one_line, graph_of, normal, numpy, order, statistics

from keras_preresnet import DESIGNS, FusedBatchNormalization

# Relative to the largest value: a half-precision result is off by half a unit in its last place at least.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)
with_or_without_relu = pytest.mark.parametrize("relu", [True, False])


def norm_layer(dtype, channels=3, **options):
    """A built layer with weights that are not those of the start."""
    layer = FusedBatchNormalization(dtype=dtype, **options)
    layer.build((None, None, None, channels))
    layer.gamma.assign(np.linspace(0.5, 2.0, channels))
    layer.beta.assign(np.linspace(-0.5, 0.25, channels))
    layer.moving_mean.assign(np.linspace(-1.0, 1.0, channels))
    layer.moving_variance.assign(np.linspace(0.25, 4.0, channels))
    return layer


def forward_and_gradients(layer, x, training):
    """Outputs, and the gradients of a weighted sum of them to input, gamma and beta."""
    sources = [x, layer.gamma.value, layer.beta.value]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        y = layer(x, training=training)
        loss = tf.reduce_sum(tf.cast(y, "float64") * normal(*x.shape, dtype="float64", seed=9))
    return [y, *tape.gradient(loss, sources)]


def plain_forward_and_gradients(layer, x, uses_batch):
    """The same in float64 by the formula, through automatic differentiation."""
    x, gamma, beta, mean, variance = (tf.cast(v, "float64") for v in (x, *layer.weights))
    with tf.GradientTape() as tape:
        tape.watch([x, gamma, beta])
        if uses_batch:
            mean = tf.reduce_mean(x, [0, 1, 2])
            variance = tf.reduce_mean(tf.square(x - mean), [0, 1, 2])
        y = (x - mean) / tf.sqrt(variance + layer.epsilon) * gamma + beta
        y = tf.maximum(y, 0.0) if layer.relu else y
        loss = tf.reduce_sum(y * normal(*x.shape, dtype="float64", seed=9))
    return [y, *tape.gradient(loss, [x, gamma, beta])]


def test_the_designs_are_the_rows_of_figure_4():
    rows = {name: tuple(cell or "-" for cell in row) for name, row in DESIGNS.items()}
    assert rows == {  # before the first convolution, after the last one, after the addition
        "original": ("-", "BN", "ReLU"),
        "bn_after_addition": ("-", "-", "BN-ReLU"),
        "relu_before_addition": ("-", "BN-ReLU", "-"),
        "relu_only_preactivation": ("ReLU", "BN", "-"),
        "full_preactivation": ("BN-ReLU", "-", "-"),
    }
    assert [name for name in DESIGNS if DESIGNS[name].preactivates] == ["relu_only_preactivation", "full_preactivation"]


@every_dtype
@with_or_without_relu
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_equal_the_formula(dtype, relu, training):
    layer = norm_layer(dtype, relu=relu)
    x = normal(6, 5, 4, 3, dtype=dtype) * 2 + 1
    expected = plain_forward_and_gradients(layer, x, uses_batch=training)
    actual = forward_and_gradients(layer, x, training)
    assert [v.dtype.name for v in actual[:2]] == [dtype, dtype]
    assert_close(actual, expected, TOLERANCE[dtype])


@every_dtype
@with_or_without_relu
@pytest.mark.parametrize("training", [True, False])
def test_equals_stock_keras_with_the_same_weights(dtype, relu, training):
    layer = norm_layer(dtype, relu=relu)
    stock = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype)
    stock.build((None, None, None, 3))
    stock.set_weights(layer.get_weights())
    x = normal(6, 5, 4, 3, dtype=dtype) * 2 + 1
    expected = stock(x, training=training)
    expected = keras.layers.ReLU(dtype=dtype)(expected) if relu else expected
    assert_close(layer(x, training=training), expected, TOLERANCE[dtype])


@every_dtype
def test_weights_are_float32_or_float64(dtype):
    layer = norm_layer(dtype)
    assert {v.dtype for v in layer.weights} == {"float64" if dtype == "float64" else "float32"}
    assert [v.name for v in layer.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [v.name for v in layer.trainable_weights] == ["gamma", "beta"]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_under_a_mixed_policy_it_computes_in_half_precision(policy):
    keras.config.set_dtype_policy(policy)
    layer = FusedBatchNormalization()
    y = layer(normal(2, 3, 3, 4), training=True)
    assert y.dtype.name == policy.removeprefix("mixed_")
    assert {v.dtype for v in layer.weights} == {"float32"}


@every_dtype
@pytest.mark.parametrize("training", [True, False])
def test_uses_the_fused_kernel_wherever_that_takes_the_type(dtype, training):
    layer = norm_layer(dtype)
    words = order(graph_of(lambda x: layer(x, training=training), 4, 4, 3, dtype=dtype)).split(", ")
    assert words.count("BN") == (0 if dtype == "float64" else 1)
    assert words.count("ReLU") == 1


@every_dtype
@pytest.mark.parametrize("graph", [True, False])
def test_moving_statistics_by_hand(dtype, graph):
    """1, 2, 3, 6: mean 3, biased variance 14/4, unbiased 14/3; the old statistics 0 and 1 keep a share of 0.9."""
    layer = FusedBatchNormalization(dtype=dtype)
    layer.build((None, 2, 2, 1))
    run = tf.function(layer) if graph else layer
    x = tf.reshape(tf.constant([1.0, 2.0, 3.0, 6.0], dtype), [1, 2, 2, 1])
    run(x, training=True)
    assert_close(layer.moving_mean, [0.3], 1e-6)
    assert_close(layer.moving_variance, [0.9 + 0.1 * 14 / 3], 1e-6)
    run(x, training=True)
    assert_close(layer.moving_mean, [0.57], 1e-6)
    assert_close(layer.moving_variance, [0.81 + 0.19 * 14 / 3], 1e-6)
    run(x, training=False)
    assert_close(layer.moving_mean, [0.57], 1e-6)


def test_momentum_and_epsilon_are_taken():
    layer = FusedBatchNormalization(relu=False, momentum=0.25, epsilon=1.0)
    y = layer(tf.reshape([1.0, 2.0, 3.0, 6.0], [1, 2, 2, 1]), training=True)
    assert_close(layer.moving_mean, [2.25])
    assert_close(layer.moving_variance, [0.25 + 0.75 * 14 / 3])
    assert_close(tf.reshape(y, [-1]), np.array([-2.0, -1.0, 0.0, 3.0]) / np.sqrt(4.5))


@every_dtype
def test_one_value_per_channel_has_the_variance_zero(dtype):
    layer = FusedBatchNormalization(dtype=dtype)
    layer(tf.constant([[[[5.0]]]], dtype), training=True)
    assert_close(layer.moving_mean, [0.5], 1e-6)
    assert_close(layer.moving_variance, [0.9], 1e-6)


def runner(layer, mode):
    """The layer in training: eager, in a graph of known batch size, or of unknown batch size."""
    call = lambda x: layer(x, training=True)  # noqa: E731
    if mode == "unknown batch":
        return tf.function(call, input_signature=[tf.TensorSpec([None, 2, 2, 3], layer.compute_dtype)])
    return call if mode == "eager" else tf.function(call)


@every_dtype
@pytest.mark.parametrize("mode", ["eager", "known batch", "unknown batch"])
def test_an_empty_batch_leaves_the_statistics_alone(dtype, mode):
    layer = norm_layer(dtype)
    run, before = runner(layer, mode), statistics(layer)
    assert run(tf.zeros([0, 2, 2, 3], dtype)).shape == (0, 2, 2, 3)
    assert all(np.array_equal(before[name], now) for name, now in statistics(layer).items())
    run(normal(4, 2, 2, 3, dtype=dtype))
    assert all(np.isfinite(now).all() and (before[name] != now).all() for name, now in statistics(layer).items())


@every_dtype
@pytest.mark.parametrize("graph", [True, False])
def test_frozen_it_runs_on_its_moving_statistics_and_passes_the_gradient(dtype, graph):
    layer = norm_layer(dtype)
    layer.trainable = False
    before = statistics(layer)
    x = normal(6, 5, 4, 3, dtype=dtype) * 2 + 1
    run = tf.function(forward_and_gradients) if graph else forward_and_gradients
    actual = run(layer, x, True)
    expected = plain_forward_and_gradients(layer, x, uses_batch=False)
    assert np.abs(numpy(actual[1])).max() > 0.1
    assert_close(actual, expected, TOLERANCE[dtype])
    assert all(np.array_equal(before[name], now) for name, now in statistics(layer).items())
    layer.trainable = True
    layer(x, training=True)
    assert all((before[name] != now).all() for name, now in statistics(layer).items())


@every_dtype
@pytest.mark.parametrize("training", [True, False])
def test_the_same_under_xla(dtype, training):
    results = []
    for jit in (False, True):
        layer = norm_layer(dtype)
        run = tf.function(lambda x, layer=layer: forward_and_gradients(layer, x, training), jit_compile=jit)
        results.append([*run(normal(6, 5, 4, 3, dtype=dtype)), *layer.weights])
    assert_close(results[1], results[0], TOLERANCE[dtype])


@pytest.mark.parametrize("shape", [(4, 3), (4, 5, 3), (2, 4, 4, 4, 3), (None, 4, 4, None)])
def test_another_rank_or_unknown_channels_are_refused(shape):
    with pytest.raises(ValueError, match="is needed") as error:
        FusedBatchNormalization(name="norm").build(shape)
    assert_one_line(error, "norm", str(shape), "(batch, height, width, channels)")


def test_the_config_holds_every_setting():
    settings = {"relu": False, "momentum": 0.7, "epsilon": 1e-3, "name": "mine", "trainable": False}
    layer = FusedBatchNormalization(**settings, dtype="mixed_bfloat16")
    again = FusedBatchNormalization.from_config(layer.get_config())
    assert {name: getattr(again, name) for name in settings} == settings
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert again.get_config() == layer.get_config()
