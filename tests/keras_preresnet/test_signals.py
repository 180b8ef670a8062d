"""x_l, h(x_l), F(x_l) and dE/dx_l of every unit: against the net itself, and against autodiff through it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import BRANCH_NAMES, DESIGN_NAMES, SHORTCUT_NAMES, assert_close, normal, numpy, thinned
from propagation_helpers import LABELS, scaled, signals_of, small_net, zero_last_convolutions

from keras_preresnet import PreResNet20, ResidualNetwork
from keras_preresnet.anatomy import stage_output
from keras_preresnet.signals import Signals


def outputs_of(model, training):
    """What each stage gives, and the logits, by the net's own call; its statistics are put back."""
    whole = keras.Model(model.input, [*(stage_output(model, f"stage{k}") for k in (1, 2)), model.output])
    before = model.get_weights()
    with tf.GradientTape() as tape:
        *stages, logits = whole(normal(4, 8, 8, 3), training=training)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, logits))
    gradients = tape.gradient(loss, stages)
    model.set_weights(before)
    return stages, gradients, loss


@pytest.mark.parametrize(("shortcut", "design"), thinned(SHORTCUT_NAMES, DESIGN_NAMES))
def test_the_walk_is_the_net_forward_and_backward(design, shortcut):
    training = shortcut != "dropout"  # In training the net draws other masks than the walk.
    model = small_net(shortcut, design)
    weights = model.get_weights()
    signals = signals_of(model, batch_statistics=training)
    list(signals.forward())
    found = {unit.position: gradients for unit, gradients in signals.backward()}
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    stages, gradients, loss = outputs_of(model, training)
    assert_close(signals.loss(signals.inputs[-1]), loss)
    for stage, position in enumerate((2, 4)):
        assert_close(signals.inputs[position + 1], stages[stage])
        assert_close(found[position].at_output, gradients[stage], 1e-4)


@pytest.mark.parametrize("unroll", [True, False, None])
@pytest.mark.parametrize("branch", BRANCH_NAMES)
def test_units_come_in_order_with_their_own_weights(branch, unroll):
    model = small_net(branch=branch, unroll=unroll)
    units = signals_of(model).units
    assert [unit.position for unit in units] == list(range(5))
    assert [(unit.stage, unit.number) for unit in units] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    assert [unit.widens for unit in units] == [False, False, False, True, False]
    stack = model.get_layer("stage1_units")
    names = list(units[1].functions.template.weights)
    np.testing.assert_array_equal(units[2].weights[names.index("conv1_kernel")], stack.conv1_kernel[1])


def test_the_sides_of_the_addition_are_recorded_not_differences():
    signals = signals_of(small_net("shortcut_only_gating", "original"))
    for unit, x, parts in signals.forward():
        assert_close(parts.output, tf.nn.relu(parts.h + parts.residual), 0)
        if not unit.widens:
            assert_close(parts.h, parts.factor * x)


def test_the_tape_goes_through_the_same_net():
    signals = signals_of(small_net())
    list(signals.forward())
    taped = signals.tape_gradients()
    for unit, gradients in signals.backward():
        assert_close(gradients.at_input, taped[unit.position], 1e-5)


def test_gradients_beyond_float32_are_kept():
    signals = signals_of(zero_last_convolutions(scaled(1e-20)))
    list(signals.forward())
    found = {unit.position: gradients for unit, gradients in signals.backward()}
    assert_close(found[0].at_input * 1e60, found[2].at_output)  # 1e-60 of it, where float32 ends at 1e-45.


def test_a_tape_that_overflows_is_scaled():
    signals = signals_of(zero_last_convolutions(scaled(1e6, units=(3,), widths=(4,))))
    signals.loss = lambda x: 1e30 * tf.reduce_sum(x)
    taped = signals.tape_gradients()  # 1e48 at the first unit, where float32 ends at 3e38.
    assert [gradient.dtype for gradient in taped] == [tf.float64] * 3
    assert_close(taped[0] / 1e48, tf.ones_like(taped[0]))


def test_dropout_draws_the_same_in_both_directions_and_anew_in_each_unit():
    model = small_net("dropout")
    signals = signals_of(model, seed=3)
    masks = [numpy(parts.factor) for _, _, parts in signals.forward()]
    assert (masks[0] != masks[1]).any()
    for unit, gradients in signals.backward():
        np.testing.assert_array_equal(numpy(gradients.factor), masks[unit.position])
    other = [numpy(parts.factor) for _, _, parts in signals_of(model, seed=4).forward()]
    assert (masks[0] != other[0]).any()


def test_an_untrained_deep_net_stays_finite_on_the_statistics_of_the_batch():
    model = ResidualNetwork(218, input_shape=(8, 8, 3))
    xs = list(signals_of(model).forward())
    assert max(float(tf.reduce_max(tf.abs(x))) for _, x, _ in xs) < 1e4


def test_backward_needs_forward():
    signals = signals_of(scaled(0.5))
    with pytest.raises(ValueError, match="after forward"):
        next(signals.backward())


def test_what_is_no_classifying_net_is_refused():
    images = normal(4, 32, 32, 3)
    with pytest.raises(ValueError, match=r"no classifier.*include_top=True"):
        Signals(PreResNet20(include_top=False), images, LABELS)
    with pytest.raises(ValueError, match="no stem"):
        Signals(keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()]), images, LABELS)


def test_a_softmax_at_the_end_is_known():
    model, other = small_net(), small_net(classifier_activation="softmax")
    other.set_weights(model.get_weights())
    losses = []
    for signals in (signals_of(model), signals_of(other)):
        list(signals.forward())
        losses.append(signals.loss(signals.inputs[-1]))
    assert_close(*losses)
