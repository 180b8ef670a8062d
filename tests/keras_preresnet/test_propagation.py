"""The table of a measurement: values computed by hand, and what each design has and has not."""

import numpy as np
import pytest
from library_helpers import DESIGN_NAMES, SHORTCUT_NAMES, normal, numpy
from propagation_helpers import LABELS, scaled, small_net

from keras_preresnet import PreResNet20
from keras_preresnet.propagation import measure_propagation

IMAGES = normal(4, 8, 8, 3)
EXACT = ("relu_before_addition", "relu_only_preactivation", "full_preactivation")


def measure(model, **settings):
    return measure_propagation(model, IMAGES, LABELS, **settings)


@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_the_additive_form_holds_where_f_is_the_identity(design):
    for stage in measure(small_net(design=design)).stages:
        assert (stage["additive_residue"] < 1e-6) == (design in EXACT)
        assert (stage["split_residue"] < 1e-5) == (design in EXACT)


@pytest.mark.parametrize("shortcut", SHORTCUT_NAMES)
def test_what_each_shortcut_has(shortcut):
    found = measure(small_net(shortcut))
    inside = [row for row in found.units if not row["widens"]]
    gated = "gating" in shortcut
    assert all(np.isfinite(row["gate"]) == gated for row in found.units)
    assert all(np.isfinite(row["additive_residue"]) == (shortcut != "convolution") for row in inside)
    assert all(np.isfinite(row["product"]) == (shortcut in ("identity", "constant_scaling")) for row in inside)
    assert all(stage["forward_gain"] > 0 and stage["backward_gain"] > 0 for stage in found.stages)


def test_across_a_widening_unit_nothing_is_claimed():
    found = measure(small_net())
    (widening,) = (row for row in found.units if (row["stage"], row["number"]) == (2, 1))
    for column in ("additive_residue", "direct_norm", "weights_norm", "split_residue", "product", "measured_product"):
        assert np.isnan(widening[column])
    assert widening["x_norm"] > 0
    assert widening["gradient_norm"] > 0


def test_gates_that_do_not_look_are_open_by_their_bias():
    model = small_net("exclusive_gating", options={"gate_bias": -6})
    for weight in model.weights:
        if "gate" in weight.path and "kernel" in weight.path:
            weight.assign(np.zeros(weight.shape))
    for row in measure(model).units:
        assert row["gate"] == pytest.approx(0.0024726, rel=1e-4)  # sigmoid(-6)


def test_norms_are_those_of_the_batch():
    model = scaled(0.5)
    row = measure(model).units[0]
    stem = model.get_layer("stem_norm")
    x = numpy(stem(model.get_layer("stem_conv")(IMAGES), training=True))
    assert row["x_norm"] == pytest.approx(np.sqrt((x**2).sum()), rel=1e-5)
    assert row["h_norm"] == pytest.approx(row["x_norm"] / 2, rel=1e-6)
    assert row["residual_ratio"] == pytest.approx(row["residual_norm"] / row["x_norm"])


def test_dead_relus_are_counted():
    model = small_net()
    unit = model.get_layer("stage1_unit1")  # Its one ReLU lies between its convolutions: the stem has activated x.
    unit.norm1.gamma.assign([0.0, 0.0, 1.0, 1.0])
    unit.norm1.beta.assign([-1.0, 1.0, 0.0, 0.0])
    row = measure(model).units[0]
    assert row["dead_relus"] == 0.25
    assert 0.25 < row["zeros"] < 0.75


def test_the_tape_may_be_left_out():
    model = small_net()
    without, with_tape = measure(model, tape=False), measure(model)
    assert all(np.isnan(row["tape_difference"]) for row in without.units)
    assert without.units[3]["gradient_norm"] == pytest.approx(with_tape.units[3]["gradient_norm"])


def test_moving_statistics_are_used_on_request():
    model = small_net()
    first, second = measure(model), measure(model, batch_statistics=False)
    assert first.units[4]["x_norm"] != pytest.approx(second.units[4]["x_norm"], rel=1e-3)


def test_a_plain_net_multiplies():
    found = measure(scaled(0.0))
    assert all(row["direct_norm"] == 0 for row in found.units if not row["widens"])
    assert found.units[0]["measured_product"] == 0
    assert np.isnan(found.units[1]["measured_product"])  # Nothing over nothing.
    assert all(stage["additive_residue"] == 0 for stage in found.stages)


def test_half_precision_is_warned_of():
    with pytest.warns(UserWarning, match="float32"):
        measure(small_net(dtype="mixed_bfloat16"))


def test_a_net_without_classifier_is_refused():
    with pytest.raises(ValueError, match="no classifier"):
        measure_propagation(PreResNet20(include_top=False), normal(4, 32, 32, 3), LABELS)
