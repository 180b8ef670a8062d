"""The residual unit as a Keras layer: against stock layers, in any policy, in anybody's own model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import (
    BRANCH_NAMES,
    DESIGN_NAMES,
    SHORTCUT_NAMES,
    assert_close,
    assert_one_line,
    normal,
    numpy,
    randomize,
    statistics,
    thinned,
)

from keras_preresnet import BRANCHES, WIDENINGS, ResidualUnit

# Kinds of layers before the addition and after it; kernels without their k x k are taken in order.
STOCK = {
    "original": (["conv", "BN", "ReLU", "conv", "BN"], ["ReLU"]),
    "bn_after_addition": (["conv", "BN", "ReLU", "conv"], ["BN", "ReLU"]),
    "relu_before_addition": (["conv", "BN", "ReLU", "conv", "BN", "ReLU"], []),
    "relu_only_preactivation": (["ReLU", "conv", "BN", "ReLU", "conv", "BN"], []),
    "full_preactivation": (["BN", "ReLU", "conv", "BN", "ReLU", "conv"], []),
}


def stock_layer(kind, weights):
    """A layer of Keras, with the next weights of the unit."""
    if kind == "ReLU":
        return keras.layers.ReLU()
    if kind == "conv":
        layer = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)
        layer.build((None, 6, 6, 8))
        layer.set_weights([next(weights)])
        return layer
    layer = keras.layers.BatchNormalization(epsilon=1e-5)
    layer.build((None, 6, 6, 8))
    layer.set_weights([next(weights) for _ in range(4)])
    return layer


def weights_in_order(unit):
    """The unit's weights from its input to its output."""
    parts = ("preactivation", "conv1", "norm1", "conv2", "norm2", "postactivation")
    return iter([w for part in parts if hasattr(unit, part) for w in getattr(unit, part).get_weights()])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_equals_the_same_layers_of_stock_keras(design, training):
    unit = ResidualUnit(8, design=design)
    unit.build((None, 6, 6, 8))
    randomize(unit)
    weights = weights_in_order(unit)
    before, after = ([stock_layer(kind, weights) for kind in kinds] for kinds in STOCK[design])
    assert next(weights, None) is None
    x = y = normal(4, 6, 6, 8)
    for layer in before:
        y = layer(y, training=training)
    y = x + y
    for layer in after:
        y = layer(y, training=training)
    assert_close(unit(x, training=training), y)


def test_the_branches_are_the_papers():
    assert BRANCHES == {
        "one_layer": ((1, 3),),
        "basic": ((1, 3), (1, 3)),
        "bottleneck": ((4, 1), (4, 3), (1, 1)),
    }


@pytest.mark.parametrize("branch", BRANCH_NAMES)
@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_no_convolution_has_a_bias_and_kernels_start_with_their_deviation(design, branch):
    unit = ResidualUnit(64, design=design, branch=branch)
    unit.build((None, None, None, 64))
    for weight in unit.weights:
        if weight.name == "kernel":
            size, _, _, n_out = weight.shape
            assert np.std(numpy(weight)) == pytest.approx(np.sqrt(2 / (size**2 * n_out)), rel=0.06), weight.path
            assert np.abs(numpy(weight)).max() > 2.5 * np.std(numpy(weight))  # Truncated it would be 2 / 0.88.
        else:
            start = {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_variance": 1}[weight.name]
            assert_close(weight, np.full(weight.shape, start), 0)
    kernels = [numpy(w) for w in unit.weights if w.name == "kernel" and w.shape[0] == 3]
    assert all(not np.array_equal(a, b) for i, a in enumerate(kernels) for b in kernels[:i])


@pytest.mark.parametrize(
    ("branch", "strides", "stride_place", "widening", "shortcut"),
    thinned(BRANCH_NAMES, (1, 2, 3), ("first", "3x3"), tuple(WIDENINGS), ("exclusive_gating", "convolution")),
)
def test_the_shape_is_what_it_says(branch, strides, stride_place, widening, shortcut):
    unit = ResidualUnit(8, strides, branch, shortcut=shortcut, widening=widening, stride_place=stride_place)
    for side in (1, 7):
        expected = (2, -(-side // strides), -(-8 // strides), 8)
        assert unit(normal(2, side, 8, 4)).shape == expected
        assert unit.compute_output_shape((2, side, 8, 4)) == expected
    assert unit.compute_output_shape((None, None, None, 4)) == (None, None, None, 8)


def check_policy(policy, design, shortcut):
    """Computes in the policy's dtype what the same unit computes in float32."""
    unit = ResidualUnit(8, 2, design=design, shortcut=shortcut, dtype=policy)
    unit.build((None, 6, 6, 4))
    randomize(unit)
    wide = ResidualUnit(8, 2, design=design, shortcut=shortcut, dtype="float32")
    wide.build((None, 6, 6, 4))
    wide.set_weights([numpy(w) for w in unit.weights])
    x = normal(4, 6, 6, 4)
    y = unit(x, training=False)
    assert y.dtype.name == policy.removeprefix("mixed_")
    assert_close(y, wide(x, training=False), {"bfloat16": 0.03, "float16": 0.004, "float64": 1e-5}[y.dtype.name])
    assert unit(x, training=True).dtype.name == y.dtype.name


@pytest.mark.parametrize(
    ("design", "shortcut", "policy"), thinned(DESIGN_NAMES, SHORTCUT_NAMES, ("mixed_bfloat16", "mixed_float16"))
)
def test_every_unit_under_mixed_policies(design, shortcut, policy):
    check_policy(policy, design, shortcut)


@pytest.mark.parametrize(
    ("shortcut", "policy", "design"),
    thinned(SHORTCUT_NAMES, ("bfloat16", "float16", "float64"), ("original", "full_preactivation")),
)
def test_every_shortcut_under_pure_policies(shortcut, policy, design):
    check_policy(policy, design, shortcut)


def test_the_policy_of_keras_is_taken():
    keras.config.set_dtype_policy("mixed_bfloat16")
    unit = ResidualUnit(8, 2, branch="bottleneck", design="original")
    assert unit(normal(2, 4, 4, 4), training=True).dtype.name == "bfloat16"
    assert {v.dtype for v in unit.weights} == {"float32"}


def test_a_unit_may_stand_at_two_places():
    unit = ResidualUnit(4)
    images = keras.Input((6, 6, 4))
    model = keras.Model(images, unit(unit(images)))
    assert len(model.weights) == len(unit.weights) == 10
    x = normal(2, 6, 6, 4)
    assert_close(model(x), unit(unit(x)), 1e-6)


def own_model():
    """A model as a user would write it."""
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(images)
    x = ResidualUnit(8, name="first")(x)
    x = ResidualUnit(16, strides=2, branch="bottleneck", shortcut="shortcut_only_gating")(x)
    x = ResidualUnit(16, design="original", shortcut="dropout", shortcut_options={"rate": 0.1})(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(2)(x))


@pytest.mark.parametrize("policy", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_units_learn_in_anybodys_own_model(policy):
    """Two classes that differ in their mean: certain after a few steps."""
    keras.config.set_dtype_policy(policy)
    labels = np.arange(64) % 2
    images = np.random.default_rng(1).normal(labels[:, None, None, None] - 0.5, 0.5, (64, 8, 8, 3))
    model = own_model()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    before = statistics(model.get_layer("first"))
    history = model.fit(images, labels, batch_size=32, epochs=12, verbose=0).history
    assert history["loss"][-1] < 0.3 < history["loss"][0]
    assert history["accuracy"][-1] > 0.95
    assert all((before[name] != now).all() for name, now in statistics(model.get_layer("first")).items())


@pytest.mark.parametrize("design", DESIGN_NAMES)
@pytest.mark.parametrize("shortcut", SHORTCUT_NAMES)
def test_every_weight_has_a_gradient(design, shortcut):
    unit = ResidualUnit(8, 2, design=design, shortcut=shortcut)
    unit.build((None, 6, 6, 4))
    randomize(unit)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(unit(normal(4, 6, 6, 4), training=True) * normal(4, 3, 3, 8, seed=1))
    variables = [v.value for v in unit.trainable_weights]
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient.shape == variable.shape
        assert np.isfinite(numpy(gradient)).all()
        assert np.abs(numpy(gradient)).max() > 0, variable.name


CONFIG = {
    "filters": 12,
    "strides": 2,
    "branch": "bottleneck",
    "design": "relu_only_preactivation",
    "shortcut": "constant_scaling",
    "shortcut_options": {"scale": 0.25, "residual_scale": 0.75},
    "widening": "zero_padding",
    "preactivate": False,
    "stride_place": "3x3",
    "name": "mine",
    "trainable": False,
}


@pytest.mark.parametrize("setting", CONFIG)
def test_the_config_holds_every_setting(setting):
    config = ResidualUnit(**CONFIG, dtype="mixed_bfloat16").get_config()
    again = ResidualUnit.from_config(config)
    assert config[setting] == CONFIG[setting]
    assert getattr(again, setting) == CONFIG[setting]
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert again.get_config() == config


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"filters": 0}, ["filters=0", "at least 1"]),
        ({"filters": 2.5}, ["filters=2.5", "whole number"]),
        ({"strides": 0}, ["strides=0", "at least 1"]),
        ({"strides": True}, ["strides=True", "whole number"]),
        ({"branch": "basics"}, ["branch='basics'", "one_layer, basic, bottleneck", "Did you mean 'basic'"]),
        ({"design": "preactivation"}, ["design='preactivation'", ", ".join(DESIGN_NAMES), "full_preactivation"]),
        ({"shortcut": "droput"}, ["shortcut='droput'", ", ".join(SHORTCUT_NAMES), "Did you mean 'dropout'"]),
        ({"widening": "zero_pad"}, ["widening='zero_pad'", "zero_padding, projection", "Did you mean 'zero_padding'"]),
        ({"stride_place": "last"}, ["stride_place='last'", "first, 3x3"]),
        ({"filters": 6, "branch": "bottleneck"}, ["filters=6", "bottleneck", "multiple of 4"]),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, words):
    with pytest.raises(ValueError, match=next(iter(arguments))) as error:
        ResidualUnit(**{"filters": 8, **arguments})
    assert_one_line(error, *words)


@pytest.mark.parametrize("design", DESIGN_NAMES)
@pytest.mark.parametrize("shape", [(2, 8), (2, 8, 8), (2, 8, 8, None)])
def test_an_input_that_is_no_image_is_refused(shape, design):
    with pytest.raises(ValueError, match="needed") as error:
        ResidualUnit(8, design=design).build(shape)
    assert_one_line(error, str(shape))


def test_numpy_integers_are_whole_numbers():
    unit = ResidualUnit(np.int64(8), strides=np.int32(2))
    assert unit(normal(1, 4, 4, 4)).shape == (1, 2, 2, 8)


@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_a_unit_made_frozen_stays_frozen_when_built(design):
    unit = ResidualUnit(8, 2, design=design, trainable=False)
    x = normal(4, 6, 6, 4) * 2 + 1
    assert_close(unit(x, training=True), unit(x, training=False), 1e-6)
    assert all(set(np.unique(now)) <= {0.0, 1.0} for now in statistics(unit).values())
    unit.trainable = True
    unit(x, training=True)
    assert all((now != 0).all() and (now != 1).all() for now in statistics(unit).values())
