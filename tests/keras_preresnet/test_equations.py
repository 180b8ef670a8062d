"""Equations (5), (6), (8) and (9): against sums written out, on deep nets, and that they notice what is wrong."""

import numpy as np
import pytest
import tensorflow as tf
from library_helpers import assert_close, normal, numpy
from propagation_helpers import LABELS, recorded, scaled, signals_of, small_net, zero_last_convolutions

from keras_preresnet import PreResNet110, PreResNet1001
from keras_preresnet.activations import DESIGNS
from keras_preresnet.equations import AdditiveForm, GradientSplit, chains, measured_products
from keras_preresnet.propagation import measure_propagation

SCALES = (1.0, 0.5, 0.9, 1.1)
CHAINS = [range(3), range(4, 5)]


def additive_sum(xs, residuals, factors, begin, end):
    """The right side of (8), as it is written: (prod λ) x_l + Σ (prod λ_j) F_i."""
    total = np.prod(np.stack(np.broadcast_arrays(*factors[begin:end])), axis=0) * xs[begin]
    for i in range(begin, end):
        later = [np.ones(()), *factors[i + 1 : end]]
        total = total + np.prod(np.stack(np.broadcast_arrays(*later)), axis=0) * residuals[i]
    return total


@pytest.mark.parametrize(
    "model",
    [
        *(pytest.param(lambda s=s: scaled(s), id=f"scale {s}") for s in (1.0, 0.5, 1.1, 0.0, -0.7)),
        *(pytest.param(lambda s=s: small_net(s), id=s) for s in ("exclusive_gating", "shortcut_only_gating")),
        pytest.param(lambda: small_net("dropout"), id="dropout"),
        pytest.param(lambda: small_net(design="original"), id="original"),
        pytest.param(lambda: small_net(design="bn_after_addition"), id="bn_after_addition"),
    ],
)
def test_the_residue_is_that_of_every_pair(model):
    signals = signals_of(model())
    xs, residuals, factors = recorded(signals)
    assert chains(signals.units) == CHAINS
    for chain in CHAINS:
        form = AdditiveForm()
        for end, (_, x, parts) in zip(chain, list(signals.forward())[chain.start : chain.stop], strict=True):
            pairs = [additive_sum(xs, residuals, factors, begin, end + 1) for begin in range(chain.start, end + 1)]
            expected = max(np.abs(xs[end + 1] - pair).max() for pair in pairs) / np.abs(xs[end + 1]).max()
            assert form.add(x, parts) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_the_split_is_the_sum_as_it_is_written():
    signals = signals_of(scaled(0.9))
    list(signals.forward())
    backward = {unit.position: gradients for unit, gradients in signals.backward()}
    end, split = numpy(backward[2].at_output), GradientSplit(backward[2].at_output)
    factor = float(np.float32(0.9))
    for position in (2, 1, 0):
        split.add(backward[position].branch, backward[position].factor)
        assert_close(split.direct, factor ** (3 - position) * end, 1e-12)
        terms = [factor ** (i - position) * numpy(backward[i].branch) for i in range(position, 3)]
        assert_close(split.through_weights, sum(terms), 1e-12)


def test_the_branch_alone_is_what_autodiff_says():
    signals = signals_of(scaled(0.5))
    list(signals.forward())
    unit, gradients = next(signals.backward())
    x = signals.inputs[4]
    with tf.GradientTape() as tape:
        tape.watch(x)
        residual = unit.parts(x).output - 0.5 * x
    expected = tape.gradient(residual, x, tf.cast(gradients.at_output, tf.float32))
    assert_close(gradients.branch, expected)


@pytest.fixture(scope="module")
def deep():
    """Made once: (5) to (9) at depth 110, by λ."""
    found = {}
    for scale in SCALES:
        options = {"shortcut": "constant_scaling", "shortcut_options": {"scale": scale}} if scale != 1 else {}
        model = PreResNet110(input_shape=(8, 8, 3), **options)
        found[scale] = measure_propagation(model, normal(4, 8, 8, 3), LABELS)
    return found


@pytest.mark.parametrize("scale", SCALES)
def test_the_equations_hold_at_depth_110(deep, scale):
    assert [stage["units"] for stage in deep[scale].stages] == [18, 17, 17]
    for stage in deep[scale].stages:
        assert stage["additive_residue"] < 1e-5
        assert stage["split_residue"] < 1e-4
    assert max(row["tape_difference"] for row in deep[scale].units) < 1e-4


@pytest.mark.parametrize("scale", SCALES)
def test_the_measured_product_is_the_power_of_lambda(deep, scale):
    for row in deep[scale].units:
        left = {1: 18, 2: 18, 3: 18}[row["stage"]] - row["number"] + 1
        if not row["widens"]:
            assert row["product"] == pytest.approx(scale**left, rel=1e-5)
            assert row["measured_product"] == pytest.approx(scale**left, rel=1e-5)
            assert row["measured_gradient_product"] == pytest.approx(scale**left, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_the_equations_hold_at_depth_1001(scale):
    options = {"shortcut": "constant_scaling", "shortcut_options": {"scale": scale}} if scale != 1 else {}
    model = PreResNet1001(input_shape=(16, 16, 3), **options)
    found = measure_propagation(model, normal(4, 16, 16, 3), LABELS)
    assert [stage["units"] for stage in found.stages] == [110, 110, 110]
    for stage in found.stages:
        print(f"depth 1001, scale {scale}: {stage}")
        assert stage["additive_residue"] < 1e-5
        assert stage["split_residue"] < 1e-4
    for row in found.units:
        if not row["widens"]:
            left = 111 - row["number"] + 1
            assert row["measured_product"] == pytest.approx(scale**left, rel=1e-4)
            assert row["measured_gradient_product"] == pytest.approx(scale**left, rel=1e-4)


def residue_with(signals, change):
    """The largest residue of the first stage, its parts changed on the way."""
    form = AdditiveForm()
    return max(form.add(x, change(unit, parts)) for unit, x, parts in list(signals.forward())[:3])


def test_a_wrong_factor_or_a_dropped_residual_breaks_the_additive_form():
    signals = signals_of(scaled(0.9))
    assert residue_with(signals, lambda _, parts: parts) < 1e-6
    assert residue_with(signals, lambda _, parts: parts._replace(factor=0.901)) > 1e-4

    def drop(unit, parts):
        return parts._replace(residual=tf.zeros_like(parts.residual)) if unit.position == 1 else parts

    assert residue_with(signals, drop) > 1e-2


@pytest.mark.parametrize("wrong", ["factor", "branch"])
def test_a_wrong_factor_or_a_dropped_branch_breaks_the_split(wrong):
    signals = signals_of(scaled(0.9))
    list(signals.forward())
    taped = signals.tape_gradients()
    right = mended = None
    for unit, gradients in list(signals.backward())[-3:]:  # Those of the first stage.
        if right is None:
            right, mended = GradientSplit(gradients.at_output), GradientSplit(gradients.at_output)
        right.add(gradients.branch, gradients.factor)
        dropped = wrong == "branch" and unit.position == 1
        branch = tf.zeros_like(gradients.branch) if dropped else gradients.branch
        mended.add(branch, 0.901 if wrong == "factor" else gradients.factor)
    assert right.residue(taped[0]) < 1e-5
    assert mended.residue(taped[0]) > 1e-4


def test_a_wrong_factor_is_seen_in_the_measured_product():
    signals = signals_of(scaled(0.9))
    list(signals.forward())
    end = {unit.position: gradients.at_output for unit, gradients in signals.backward()}[2]
    forward, backward = measured_products(signals, range(3), end)
    for measured in (forward, backward):
        assert measured == pytest.approx([0.9**3, 0.9**2, 0.9], rel=1e-6)
        assert measured != pytest.approx([0.901**3, 0.901**2, 0.901], rel=1e-6)


def test_with_residuals_of_zero_the_signal_is_h_applied_again_and_again():
    xs, _, _ = recorded(signals_of(zero_last_convolutions(small_net())))
    np.testing.assert_array_equal(xs[3], xs[0])
    xs, _, _ = recorded(signals_of(zero_last_convolutions(scaled(0.5))))
    np.testing.assert_array_equal(xs[3], xs[0] / 8)
    np.testing.assert_array_equal(xs[5], xs[4] / 2)


def test_the_gradient_of_18_halvings():
    options = {"shortcut": "constant_scaling", "shortcut_options": {"scale": 0.5}}
    model = zero_last_convolutions(PreResNet110(input_shape=(8, 8, 3), **options))
    rows = measure_propagation(model, normal(4, 8, 8, 3), LABELS).units
    first, last = rows[0], rows[17]
    assert (first["stage"], last["stage"], rows[18]["stage"]) == (1, 1, 2)
    assert first["gradient_norm"] / last["gradient_norm"] == 2.0**-17
    assert last["output_norm"] / first["x_norm"] == 2.0**-18


@pytest.mark.parametrize("batch_statistics", [True, False])
@pytest.mark.parametrize("design", DESIGNS)
def test_f_is_zero_in_the_measured_product_whatever_the_statistics(design, batch_statistics):
    """On moving statistics a batch norm after the last convolution would take off a mean that F no longer has."""
    signals = signals_of(small_net(design=design), batch_statistics=batch_statistics)
    for unit, x, _ in signals.forward():
        residual = unit.without_residual().parts(x).residual
        assert float(tf.reduce_max(tf.abs(residual))) < 1e-6
