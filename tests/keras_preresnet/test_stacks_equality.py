"""A stack equals its units one by one, however it is run: outputs, gradients, batch-norm statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import BRANCH_NAMES, DESIGN_NAMES, SHORTCUT_NAMES, assert_close, normal, numpy, randomize

from keras_preresnet import ResidualUnit, UnitStack

COUNT, WIDTH = 3, 4
UNROLLED, LOOP = {"unroll": True}, {"unroll": False}
REMAT_UNROLLED, REMAT_LOOP = {"unroll": True, "remat": True}, {"unroll": False, "remat": True}
# What rounding alone makes of results whose operations TensorFlow fuses in a graph and not in eager mode.
HALF = {"mixed_bfloat16": 0.05, "mixed_float16": 0.01}

every_design = pytest.mark.parametrize("design", DESIGN_NAMES)
every_shortcut = pytest.mark.parametrize("shortcut", SHORTCUT_NAMES)


def new_stack(unit, form, policy="float32", count=COUNT):
    """A built stack with weights of its own, the same ones whatever the form."""
    keras.utils.set_random_seed(1)
    stack = UnitStack(ResidualUnit(WIDTH, dtype=policy, **unit), count, **form)
    stack.build((None, None, None, WIDTH))
    return randomize(stack)


def gradient_step(stack, training):
    """A function of x: outputs, gradients to x and to every weight, statistics after it."""

    def step(x):
        sources = [x, *(v.value for v in stack.trainable_variables)]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            y = stack(x, training=training)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) * normal(*y.shape[1:], seed=9))
        return [y, *tape.gradient(loss, sources)]

    return step


def results(unit, form, policy="float32", training=True, graph=True):
    """What `gradient_step` gives, and the statistics that it leaves."""
    stack = new_stack(unit, form, policy)
    before = [numpy(v) for v in stack.non_trainable_weights]
    step = gradient_step(stack, training)
    if graph:  # Of unknown batch size, height and width.
        step = tf.function(step, input_signature=[tf.TensorSpec([None, 6, 6, WIDTH])])
    outputs = [numpy(v) for v in step(normal(4, 6, 6, WIDTH))]
    after = [numpy(v) for v in stack.non_trainable_weights]
    assert all(((a != b).all() if training else (a == b).all()) for a, b in zip(after, before, strict=True))
    return outputs + after


@every_design
@every_shortcut
def test_in_training(design, shortcut):
    unit = {"design": design, "shortcut": shortcut}
    expected = results(unit, UNROLLED)
    for form in (LOOP, REMAT_LOOP, REMAT_UNROLLED):
        assert_close(results(unit, form), expected)
    assert_close(results(unit, LOOP, graph=False), expected)
    assert_close(results(unit, REMAT_LOOP, graph=False), expected)


@every_design
@every_shortcut
def test_at_inference(design, shortcut):
    unit = {"design": design, "shortcut": shortcut}
    expected = results(unit, UNROLLED, training=False)
    assert_close(results(unit, LOOP, training=False), expected)
    assert_close(results(unit, REMAT_LOOP, training=False), expected)
    assert_close(results(unit, LOOP, training=False, graph=False), expected)


@pytest.mark.parametrize("branch", ["one_layer", "bottleneck"])
@every_design
def test_of_the_other_branches(design, branch):
    unit = {"design": design, "branch": branch}
    expected = results(unit, UNROLLED)
    assert_close(results(unit, LOOP), expected)
    assert_close(results(unit, REMAT_LOOP), expected)


@pytest.mark.parametrize("policy", HALF)
@every_design
@every_shortcut
def test_in_half_precision(policy, design, shortcut):
    """Gates near 1 round coarsely, and gradients of sums cancel: eager results are compared by their outputs."""
    unit = {"design": design, "shortcut": shortcut}
    expected = results(unit, UNROLLED, policy)
    assert_close(results(unit, LOOP, policy), expected, 1e-3)
    assert_close(results(unit, LOOP, policy, graph=False)[0], expected[0], HALF[policy])


@pytest.mark.parametrize("policy", HALF)
@every_design
def test_rematerialised_in_half_precision(policy, design):
    for shortcut in ("identity", "exclusive_gating", "dropout"):
        unit = {"design": design, "shortcut": shortcut}
        assert_close(results(unit, REMAT_LOOP, policy), results(unit, LOOP, policy), 1e-3)


@pytest.mark.parametrize("policy", HALF)
@every_design
def test_in_half_precision_at_inference(policy, design):
    for shortcut in ("identity", "exclusive_gating", "dropout"):
        unit = {"design": design, "shortcut": shortcut}
        expected = results(unit, UNROLLED, policy, training=False)
        assert_close(results(unit, LOOP, policy, training=False), expected, 1e-3)


def separate_units(stack, **arguments):
    """Residual units that stand for themselves, each with its row of the stack's weights."""
    rows = {v.name: numpy(v) for v in stack.weights}
    units = [ResidualUnit(WIDTH, name="unit", **arguments) for _ in range(stack.count)]
    for i, unit in enumerate(units):
        unit.build((None, None, None, WIDTH))
        for variable in unit.weights:
            variable.assign(rows[variable.path.removeprefix("unit/").replace("/", "_")][i])
    return units


def separate_results(units, names, training):
    """What `results` gives, from units of their own; `names` are those of the stacked weights, in order."""
    x = normal(4, 6, 6, WIDTH)
    paths = [{v.path.removeprefix("unit/").replace("/", "_"): v for v in unit.weights} for unit in units]
    trainable = [name for name in names if paths[0][name].trainable]
    sources = [[unit[name].value for unit in paths] for name in trainable]
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x
        for unit in units:
            y = unit(y, training=training)
        loss = tf.reduce_sum(y * normal(*y.shape[1:], seed=9))
    gradients = tape.gradient(loss, [x, *sources])
    statistics = [[unit[name] for unit in paths] for name in names if name not in trainable]
    return [y, gradients[0], *(np.stack([*map(numpy, rows)]) for rows in gradients[1:] + statistics)]


@pytest.mark.parametrize("branch", BRANCH_NAMES)
@every_design
@every_shortcut
def test_equals_units_that_stand_for_themselves(design, shortcut, branch):
    """Dropout keeps everything here in training; its masks are looked at in test_stacks.py."""
    for training in (True, False):
        unit = {"design": design, "shortcut": shortcut, "branch": branch}
        if shortcut == "dropout":
            unit["shortcut_options"] = {"rate": 0 if training else 0.5}
        stack = new_stack(unit, LOOP)
        expected = separate_results(separate_units(stack, **unit), [v.name for v in stack.weights], training)
        assert_close(results(unit, LOOP, training=training, graph=False), expected, 2e-5)


@every_shortcut
def test_the_loop_equals_units_that_stand_for_themselves(shortcut):
    unit = {"shortcut": shortcut, "branch": "bottleneck"}
    if shortcut == "dropout":
        unit["shortcut_options"] = {"rate": 0}
    stack = new_stack(unit, LOOP)
    expected = separate_results(separate_units(stack, **unit), [v.name for v in stack.weights], True)
    assert_close(results(unit, LOOP), expected, 2e-5)


@every_shortcut
def test_under_xla(shortcut):
    """XLA draws other random numbers: dropout is compared where it drops nothing."""
    unit = {"shortcut": shortcut, "shortcut_options": {"rate": 0} if shortcut == "dropout" else None}
    for form in (UNROLLED, LOOP):
        stack = new_stack(unit, form)
        step = tf.function(gradient_step(stack, True), jit_compile=True)
        actual = [*step(normal(4, 6, 6, WIDTH)), *stack.non_trainable_weights]
        assert_close(actual, results(unit, form), 1e-4)


@pytest.mark.parametrize("form", [LOOP, REMAT_LOOP, UNROLLED], ids=str)
def test_in_float64_gradients_are_those_of_finite_differences(form):
    stack = new_stack({"design": "full_preactivation"}, form, "float64")
    x, direction = normal(2, 6, 6, WIDTH, dtype="float64"), normal(2, 6, 6, WIDTH, dtype="float64", seed=4)

    @tf.function
    def loss(x):
        return tf.reduce_sum(stack(x, training=True) ** 2)

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    slope = tf.reduce_sum(tape.gradient(value, x) * direction)
    assert_close((loss(x + 1e-6 * direction) - loss(x - 1e-6 * direction)) / 2e-6, slope, 1e-6)


@every_design
@pytest.mark.parametrize("form", [LOOP, UNROLLED, REMAT_LOOP], ids=str)
def test_batches_of_any_size_the_empty_one_included(design, form):
    stack = new_stack({"design": design}, form)
    run = tf.function(lambda x: stack(x, training=True), input_signature=[tf.TensorSpec([None, None, None, WIDTH])])
    before = [numpy(v) for v in stack.non_trainable_weights]
    assert run(tf.zeros([0, 6, 6, WIDTH])).shape == (0, 6, 6, WIDTH)
    assert_close([*stack.non_trainable_weights], before, 0)
    for shape in ((1, 6, 6), (5, 6, 6), (2, 3, 8)):
        assert run(normal(*shape, WIDTH)).shape == (*shape, WIDTH)
    after = [numpy(v) for v in stack.non_trainable_weights]
    assert all(np.isfinite(a).all() and (a != b).all() for a, b in zip(after, before, strict=True))
