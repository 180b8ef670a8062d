"""The six shortcuts and two widenings: h(x) and the multiplier of F, by hand."""

import numpy as np
import pytest
import tensorflow as tf
from library_helpers import (
    DESIGN_NAMES,
    SHORTCUT_NAMES,
    assert_close,
    assert_one_line,
    normal,
    numpy,
    randomize,
)

from keras_preresnet import SHORTCUTS, WIDENINGS, ResidualUnit

# One pixel x = (1, 2); W_g = diag(1, -1) and b_g = (-6, 0.5) make the logits -5 and -1.5.
PIXEL = tf.constant([[[[1.0, 2.0]]]])
GATE_KERNEL = np.reshape([[1.0, 0.0], [0.0, -1.0]], [1, 1, 2, 2])
GATE_BIAS = np.array([-6.0, 0.5])
GATES = [0.0066928509, 0.1824255238]
GATED = [0.9933071491, 1.6351489524]
IMAGE = tf.reshape(tf.range(16.0), [1, 4, 4, 1])


def unit_of_two(shortcut, options=None, design="full_preactivation", **arguments):
    """A built unit of width 2; its convolutions are the same, and positive, whatever the shortcut."""
    unit = ResidualUnit(2, design=design, shortcut=shortcut, shortcut_options=options, **arguments)
    unit.build((None, None, None, 2))
    for name in ("conv1", "conv2"):
        getattr(unit, name).kernel.assign(tf.abs(normal(3, 3, 2, 2)))
    if shortcut.endswith("gating"):
        unit.shortcut_layer.gate.set_weights([GATE_KERNEL, GATE_BIAS])
    return unit


def hand_values(shortcut, options=None, design="full_preactivation"):
    """h(PIXEL), and what F is multiplied with: F of the unit over F of the identity unit."""
    h, residual = unit_of_two(shortcut, options, design).parts(PIXEL)[:2]
    _, plain = unit_of_two("identity", None, design).parts(PIXEL)[:2]
    assert np.abs(numpy(plain)).min() > 1e-3
    return numpy(h).ravel(), numpy(residual).ravel() / numpy(plain).ravel()


every_design = pytest.mark.parametrize("design", DESIGN_NAMES)


def test_the_shortcuts_are_those_of_table_1():
    assert tuple(SHORTCUTS) == SHORTCUT_NAMES
    assert tuple(WIDENINGS) == ("zero_padding", "projection")


@every_design
def test_identity(design):
    h, multiplier = hand_values("identity", design=design)
    assert_close(h, np.array([1.0, 2.0]), 0)
    assert_close(multiplier, np.array([1.0, 1.0]), 0)


@every_design
@pytest.mark.parametrize(
    ("options", "h", "multiplier"),
    [
        ({"scale": 0, "residual_scale": 1}, [0.0, 0.0], 1.0),
        ({"scale": 0.5}, [0.5, 1.0], 1.0),
        ({"scale": 0.5, "residual_scale": 0.5}, [0.5, 1.0], 0.5),
        ({"scale": 0.9, "residual_scale": 0.1}, [0.9, 1.8], 0.1),
        ({"scale": -2, "residual_scale": 3}, [-2.0, -4.0], 3.0),
        (None, [0.5, 1.0], 1.0),
    ],
)
def test_constant_scaling(design, options, h, multiplier):
    actual_h, actual_multiplier = hand_values("constant_scaling", options, design)
    assert_close(actual_h, np.array(h))
    assert_close(actual_multiplier, np.array([multiplier, multiplier]))


@every_design
def test_exclusive_gating(design):
    h, multiplier = hand_values("exclusive_gating", design=design)
    assert_close(h, np.array(GATED))
    assert_close(multiplier, np.array(GATES))


@every_design
def test_shortcut_only_gating(design):
    h, multiplier = hand_values("shortcut_only_gating", design=design)
    assert_close(h, np.array(GATED))
    assert_close(multiplier, np.array([1.0, 1.0]))


@pytest.mark.parametrize("shortcut", ["exclusive_gating", "shortcut_only_gating"])
@pytest.mark.parametrize(("options", "bias"), [(None, -6.0), ({"gate_bias": -3}, -3.0), ({"gate_bias": 0}, 0.0)])
def test_the_gate_starts_at_its_bias(shortcut, options, bias):
    unit = ResidualUnit(64, shortcut=shortcut, shortcut_options=options)
    unit.build((None, None, None, 64))
    gate = unit.shortcut_layer.gate
    assert_close(gate.bias, np.full(64, bias), 0)
    assert gate.kernel.shape == (1, 1, 64, 64)
    assert np.std(numpy(gate.kernel)) == pytest.approx(np.sqrt(2 / 64), rel=0.05)
    assert [v.path.split("/")[1:] for v in unit.shortcut_layer.weights] == [
        ["shortcut", "gate", "kernel"],
        ["shortcut", "gate", "bias"],
    ]


@every_design
def test_convolution(design):
    unit = unit_of_two("convolution", design=design)
    unit.shortcut_layer.conv.kernel.assign(np.reshape([[1.0, 3.0], [0.5, -1.0]], [1, 1, 2, 2]))
    expected = np.array([2.0, 1.0])  # 1·1 + 2·0.5 and 1·3 - 2·1
    if design in ("original", "bn_after_addition", "relu_before_addition"):
        unit.shortcut_layer.norm.set_weights(np.array([[2.0, 1.0], [0.5, 0.0], [1.0, 3.0], [4.0 - 1e-5, 1.0 - 1e-5]]))
        expected = np.array([1.5, -2.0])  # 2·(2 - 1)/2 + 0.5 and (1 - 3)/1
    h, residual = unit.parts(PIXEL)[:2]
    assert_close(tf.reshape(h, [-1]), expected)
    assert_close(residual, unit_of_two("identity", design=design).parts(PIXEL).residual)


@every_design
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5])
def test_dropout_at_inference_scales_by_what_is_kept(design, rate):
    h, multiplier = hand_values("dropout", {"rate": rate}, design)
    assert_close(h, (1 - rate) * np.array([1.0, 2.0]))
    assert_close(multiplier, np.array([1.0, 1.0]))


def dropout_in_training(unit, x):
    """h(x) in training; the F that is added to it is zero."""
    unit.conv2.kernel.assign(tf.zeros_like(unit.conv2.kernel))
    return numpy(unit(x, training=True))


@pytest.mark.parametrize(("options", "kept"), [(None, 0.5), ({"rate": 0.25}, 0.75), ({"rate": 0.9}, 0.1)])
def test_dropout_in_training_drops_and_does_not_rescale(options, kept):
    unit = unit_of_two("dropout", options)
    x = normal(20, 16, 16, 2)  # 10,240 elements: the deviation of the share kept is at most 0.005
    h = dropout_in_training(unit, x)
    mask = h != 0
    assert np.array_equal(h[mask], numpy(x)[mask])
    assert mask.mean() == pytest.approx(kept, abs=0.02)
    assert mask.mean(axis=(1, 2, 3)) == pytest.approx(np.full(20, kept), abs=0.1)
    assert mask.mean(axis=(0, 1, 2)) == pytest.approx(np.full(2, kept), abs=0.03)


def test_dropout_without_a_rate_keeps_everything():
    x = normal(2, 4, 4, 2)
    assert_close(dropout_in_training(unit_of_two("dropout", {"rate": 0}), x), x, 0)


def test_the_seed_of_dropout_makes_it_reproducible():
    x = normal(2, 8, 8, 2)
    units = [unit_of_two("dropout", {"seed": seed}) for seed in (5, 5, 6)]
    first, again, other = (dropout_in_training(unit, x) for unit in units)
    assert np.array_equal(first, again)
    assert 0.4 < np.mean((first != 0) != (other != 0)) < 0.6
    assert 0.4 < np.mean((first != 0) != (dropout_in_training(units[0], x) != 0)) < 0.6


@pytest.mark.parametrize(
    ("size", "strides", "pixels"),
    [
        (4, 1, list(range(16))),
        (4, 2, [0, 2, 8, 10]),
        (5, 2, [0, 2, 4, 10, 12, 14, 20, 22, 24]),
        (5, 3, [0, 3, 15, 18]),
    ],
)
def test_zero_padding_subsamples_and_appends_zeros(size, strides, pixels):
    image = tf.reshape(tf.range(float(size**2)), [1, size, size, 1])
    image = tf.concat([image, -image], axis=-1)
    widening = WIDENINGS["zero_padding"](5, strides, True)
    expected = np.stack([pixels, np.negative(pixels), *np.zeros([3, len(pixels)])], axis=-1)
    assert np.array_equal(numpy(widening(image)).reshape(-1, 5), expected)
    assert widening.weights == []


def test_zero_padding_cannot_narrow_and_projection_can():
    with pytest.raises(ValueError, match="widening") as error:
        ResidualUnit(4, widening="zero_padding")(normal(1, 4, 4, 6))
    assert_one_line(error, "6", "4", "projection")
    assert ResidualUnit(4, widening="projection")(normal(1, 4, 4, 6)).shape == (1, 4, 4, 4)


def test_projection_by_hand():
    """Pixels 0, 2, 8, 10 of the image, times the kernel (1, -2)."""
    projection = WIDENINGS["projection"](2, 2, False)
    projection.build((None, 4, 4, 1))
    projection.conv.kernel.assign([[[[1.0, -2.0]]]])
    expected = [[0.0, 0.0], [2.0, -4.0], [8.0, -16.0], [10.0, -20.0]]
    assert np.array_equal(numpy(projection(IMAGE)).reshape(-1, 2), expected)


@every_design
@pytest.mark.parametrize("shortcut", ["identity", "convolution"])
def test_batch_norm_follows_projections_in_post_activation_designs_only(design, shortcut):
    unit = ResidualUnit(8, 2, design=design, shortcut=shortcut, widening="projection")
    unit.build((None, 8, 8, 4))
    part = "widening" if shortcut == "identity" else "shortcut"
    names = [v.path.split("/", 1)[1] for v in unit.weights if f"/{part}/" in v.path]
    norm = [f"{part}/norm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    normalizes = design in ("original", "bn_after_addition", "relu_before_addition")
    assert sorted(names) == sorted([f"{part}/conv/kernel", *(norm if normalizes else [])])


def widened_by_hand(unit, activated):
    """h of a unit that pads with zeros, at inference, from what its shortcut reads."""
    widened = tf.pad(activated[:, ::2, ::2], [[0, 0], [0, 0], [0, 0], [0, 2]])
    if unit.shortcut.endswith("gating"):
        gate = unit.shortcut_layer.gate
        return widened * (1 - tf.sigmoid(tf.nn.conv2d(activated, gate.kernel, 2, "VALID") + gate.bias))
    if unit.shortcut == "convolution":
        conv = tf.nn.conv2d(activated, unit.shortcut_layer.conv.kernel, 2, "VALID")
        norm = getattr(unit.shortcut_layer, "norm", None)
        if not norm.weights:
            return conv
        return tf.nn.batch_normalization(
            conv, norm.moving_mean, norm.moving_variance, norm.beta, norm.gamma, norm.epsilon
        )
    return widened * {"identity": 1.0, "constant_scaling": 0.3, "dropout": 0.5}[unit.shortcut]


@every_design
@pytest.mark.parametrize("shortcut", SHORTCUT_NAMES)
def test_a_widening_unit_widens_first_what_its_design_reads(design, shortcut):
    options = {"scale": 0.3} if shortcut == "constant_scaling" else None
    unit = ResidualUnit(6, 2, design=design, shortcut=shortcut, shortcut_options=options, widening="zero_padding")
    unit.build((None, 5, 5, 4))
    randomize(unit)
    x = normal(3, 5, 5, 4)
    read = {
        "full_preactivation": lambda: tf.nn.relu(
            tf.nn.batch_normalization(
                x, *(unit.preactivation.weights[i].value for i in (2, 3, 1, 0)), unit.preactivation.epsilon
            )
        ),
        "relu_only_preactivation": lambda: tf.nn.relu(x),
    }.get(design, lambda: x)()
    assert_close(unit.parts(x).h, widened_by_hand(unit, read))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
@pytest.mark.parametrize("shortcut", SHORTCUT_NAMES)
def test_h_and_f_have_the_compute_dtype(policy, shortcut):
    unit = ResidualUnit(4, shortcut=shortcut, dtype=policy)
    unit.build((None, 4, 4, 4))
    dtype = policy.removeprefix("mixed_")
    for training in (True, False):
        assert unit(normal(2, 4, 4, 4), training=training).dtype.name == dtype


@pytest.mark.parametrize(
    ("shortcut", "options", "words"),
    [
        ("identity", {"scale": 1}, ["'identity'", "scale", "none"]),
        ("constant_scaling", {"rate": 1}, ["'constant_scaling'", "rate", "scale, residual_scale"]),
        ("exclusive_gating", {"bias": 1}, ["'exclusive_gating'", "bias", "gate_bias"]),
        ("shortcut_only_gating", {"bias": 1}, ["'shortcut_only_gating'", "bias", "gate_bias"]),
        ("convolution", {"scale": 1}, ["'convolution'", "scale", "none"]),
        ("dropout", {"scale": 1}, ["'dropout'", "scale", "rate, seed"]),
        ("indentity", {}, ["'indentity'", "identity", "Did you mean 'identity'"]),
        ("gating", {}, ["'gating'", "exclusive_gating", "shortcut_only_gating"]),
    ],
)
def test_unknown_shortcuts_and_options_are_refused_at_once(shortcut, options, words):
    with pytest.raises(ValueError, match="shortcut") as error:
        ResidualUnit(4, shortcut=shortcut, shortcut_options=options)
    assert_one_line(error, *words)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_a_dropout_rate_outside_its_range_is_refused(rate):
    with pytest.raises(ValueError, match="rate") as error:
        ResidualUnit(4, shortcut="dropout", shortcut_options={"rate": rate}).build((None, 4, 4, 4))
    assert_one_line(error, str(rate), "[0, 1)")
