"""A stack equals its units one by one, however it is run: outputs, gradients, batch-norm statistics."""

from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from library_helpers import (
    BRANCH_NAMES,
    DESIGN_NAMES,
    SHORTCUT_NAMES,
    assert_close,
    normal,
    numpy,
    thinned,
)
from stack_helpers import WIDTH, gradient_step, new_stack, results, run

from keras_preresnet import ResidualUnit, batch_norm

UNROLLED, LOOP = {"unroll": True}, {"unroll": False}
REMAT_UNROLLED, REMAT_LOOP = {"unroll": True, "remat": True}, {"unroll": False, "remat": True}
EAGER = {"graph": False}
FLOAT32 = {"tolerance": 2e-5, "smallest": 1.0}

every_design = pytest.mark.parametrize("design", DESIGN_NAMES)
every_shortcut = pytest.mark.parametrize("shortcut", SHORTCUT_NAMES)
# Every shortcut in one design, and every design with one shortcut.
every_kind = pytest.mark.parametrize(
    ("design", "shortcut"),
    [
        *(("full_preactivation", shortcut) for shortcut in SHORTCUT_NAMES),
        *((design, "exclusive_gating") for design in DESIGN_NAMES[:-1]),
    ],
)
# Those whose units differ most in what they draw and keep are quick.
GROUPS = [
    pytest.param(*row, marks=() if row in (("exclusive_gating", 4), ("dropout", 7)) else pytest.mark.slow)
    for row in product(SHORTCUT_NAMES, (4, 7))
]
HALVES = ("mixed_bfloat16", "mixed_float16")
both_halves = pytest.mark.parametrize("policy", HALVES)


@every_kind
def test_in_training(design, shortcut):
    """Eager, the units run one by one."""
    unit = {"design": design, "shortcut": shortcut}
    expected = results(unit, {}, **EAGER)
    for form in (LOOP, REMAT_LOOP):
        assert_close(results(unit, form), expected, **FLOAT32)


@pytest.mark.parametrize(
    ("form", "shortcut"),
    thinned((LOOP, REMAT_LOOP, UNROLLED), ("identity", "dropout", "exclusive_gating")),
    ids=lambda value: str(value),
)
def test_with_the_gradient_of_large_tensors(form, shortcut, monkeypatch):
    """BN and ReLU in two passes: see `keras_preresnet.batch_norm`."""
    unit = {"shortcut": shortcut, "branch": "bottleneck"}
    expected = results(unit, form)
    monkeypatch.setattr(batch_norm, "LARGE", 0)
    assert_close(results(unit, form, batch_size=4), expected, **FLOAT32)


@pytest.mark.parametrize(("shortcut", "count"), GROUPS)
def test_rematerialised_in_groups(shortcut, count):
    """Two groups of two units; one unit ahead of three groups of two."""
    unit = {"shortcut": shortcut}
    assert_close(
        results(unit, REMAT_LOOP, "float64", count=count), results(unit, LOOP, "float64", count=count), 1e-11, 1.0
    )


def test_a_frozen_stack_rematerialised_in_groups():
    """Its input may have a gradient; its statistics stay."""
    x, found = normal(4, 6, 6, WIDTH), []
    for form in (LOOP, REMAT_LOOP):
        stack = new_stack({}, form, count=7)
        stack.trainable = False
        before = [numpy(v) for v in stack.weights]

        @tf.function
        def step(x, stack=stack):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = stack(x, training=True)
            return y, tape.gradient(y, x)

        found.append([numpy(v) for v in step(x)])
        assert all(np.array_equal(numpy(v), old) for v, old in zip(stack.weights, before, strict=True))
    assert_close(*found, **FLOAT32)


@pytest.mark.slow
@every_design
@every_shortcut
def test_every_unit_in_every_form(design, shortcut):
    unit = {"design": design, "shortcut": shortcut}
    expected = results(unit, {}, **EAGER)
    for form in (UNROLLED, LOOP, REMAT_UNROLLED, REMAT_LOOP):
        assert_close(results(unit, form), expected, **FLOAT32)
        assert_close(results(unit, form, training=False), results(unit, {}, training=False, **EAGER), **FLOAT32)


@every_design
@every_shortcut
def test_at_inference(design, shortcut):
    stack = new_stack({"design": design, "shortcut": shortcut}, LOOP)
    x = normal(4, 6, 6, WIDTH)
    expected = stack(x, training=False)
    assert_close(tf.function(stack)(x, training=False), expected, **FLOAT32)


@every_design
def test_gradients_at_inference(design):
    unit = {"design": design, "shortcut": "exclusive_gating"}
    assert_close(results(unit, LOOP, training=False), results(unit, {}, training=False, **EAGER), **FLOAT32)


@pytest.mark.parametrize(("design", "branch"), thinned(DESIGN_NAMES, ("one_layer", "bottleneck")))
def test_of_the_other_branches(design, branch):
    """In float64, where rounding hides nothing."""
    unit = {"design": design, "branch": branch}
    expected = results(unit, {}, "float64", **EAGER)
    assert_close(results(unit, LOOP, "float64"), expected, 1e-11, 1.0)


@pytest.mark.parametrize("shortcut", ["identity", "exclusive_gating", "dropout"])
def test_without_a_loop(shortcut):
    unit = {"shortcut": shortcut}
    expected = results(unit, {}, **EAGER)
    assert_close(results(unit, {"remat": True}, **EAGER), expected, **FLOAT32)
    for form in (UNROLLED, REMAT_UNROLLED):
        assert_close(results(unit, form), expected, **FLOAT32)


def check_half(policy, design, shortcut, forms=(LOOP,), training=True):
    """Outputs, gradients and statistics of the forms against those of the unrolled graph."""
    unit = {"design": design, "shortcut": shortcut}
    expected = results(unit, UNROLLED, policy, training)
    for form in forms:
        assert_close(results(unit, form, policy, training), expected, 1e-3)
    return expected


@pytest.mark.parametrize(("shortcut", "policy"), thinned(SHORTCUT_NAMES, HALVES))
def test_every_shortcut_in_half_precision(shortcut, policy):
    check_half(policy, "full_preactivation", shortcut)


@pytest.mark.parametrize("design", DESIGN_NAMES[:-1])
def test_every_design_in_half_precision(design):
    """With convolutions, which the post-activation designs normalise."""
    check_half("mixed_bfloat16", design, "convolution")


@both_halves
def test_rematerialised_in_half_precision(policy):
    check_half(policy, "full_preactivation", "exclusive_gating", [REMAT_LOOP])


@pytest.mark.slow
@both_halves
@every_design
@every_shortcut
def test_every_form_in_half_precision(policy, design, shortcut):
    """TensorFlow fuses operations in a graph that eager mode rounds one by one: there only outputs are compared."""
    expected = check_half(policy, design, shortcut, [LOOP, REMAT_LOOP, REMAT_UNROLLED])
    eager = results({"design": design, "shortcut": shortcut}, {}, policy, **EAGER)
    assert_close(eager[0], expected[0], {"mixed_bfloat16": 0.05, "mixed_float16": 0.01}[policy])
    check_half(policy, design, shortcut, [LOOP], training=False)


def by_stacked_name(unit):
    return {v.path.removeprefix("unit/").replace("/", "_"): v for v in unit.weights}


def separate_units(stack, **arguments):
    """Residual units that stand for themselves, each with its row of the stack's weights."""
    rows = {v.name: numpy(v) for v in stack.weights}
    units = [ResidualUnit(WIDTH, name="unit", dtype="float64", **arguments) for _ in range(stack.count)]
    for i, unit in enumerate(units):
        unit.build((None, None, None, WIDTH))
        for name, variable in by_stacked_name(unit).items():
            variable.assign(rows[name][i])
    return units


def separate_results(units, stack, training):
    """What `results` gives, from units of their own."""
    x = normal(4, 6, 6, WIDTH, dtype="float64")
    own = [by_stacked_name(unit) for unit in units]
    rows = [[weights[v.name] for weights in own] for v in stack.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x
        for unit in units:
            y = unit(y, training=training)
        loss = tf.reduce_sum(y * normal(*y.shape[1:], seed=9, dtype="float64"))
    x_gradient, *gradients = tape.gradient(loss, [x, *([v.value for v in row] for row in rows)])
    statistics = [[weights[v.name] for weights in own] for v in stack.non_trainable_weights]
    return [y, x_gradient, *(np.stack([*map(numpy, row)]) for row in gradients + statistics)]


def check_against_separate_units(training, graph=False, **unit):
    """Dropout is compared where it drops nothing; its masks are looked at in test_stacks.py."""
    if unit["shortcut"] == "dropout":
        unit["shortcut_options"] = {"rate": 0 if training else 0.5}
    stack = new_stack(unit, LOOP, "float64")
    expected = separate_results(separate_units(stack, **unit), stack, training)
    assert_close(run(stack, training, graph), expected, 1e-11, 1.0)


@pytest.mark.parametrize(("design", "shortcut", "branch"), thinned(DESIGN_NAMES, SHORTCUT_NAMES, BRANCH_NAMES))
def test_equals_units_that_stand_for_themselves(design, shortcut, branch):
    check_against_separate_units(True, design=design, shortcut=shortcut, branch=branch)


@every_kind
def test_equals_units_that_stand_for_themselves_at_inference(design, shortcut):
    check_against_separate_units(False, design=design, shortcut=shortcut)


def test_the_loop_equals_units_that_stand_for_themselves():
    check_against_separate_units(True, graph=True, shortcut="exclusive_gating", branch="bottleneck", design="original")


@pytest.mark.parametrize(
    "shortcut", [pytest.param(s, marks=pytest.mark.slow if s != "identity" else ()) for s in SHORTCUT_NAMES]
)
@pytest.mark.parametrize("form", [UNROLLED, LOOP], ids=str)
def test_under_xla(shortcut, form):
    """XLA draws other random numbers: dropout is compared where it drops nothing."""
    unit = {"shortcut": shortcut, "shortcut_options": {"rate": 0} if shortcut == "dropout" else None}
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


@pytest.mark.parametrize(
    ("design", "form"),
    [*((design, LOOP) for design in DESIGN_NAMES), *(("full_preactivation", form) for form in (UNROLLED, REMAT_LOOP))],
)
def test_batches_of_any_size_the_empty_one_included(design, form):
    stack = new_stack({"design": design}, form)
    train = tf.function(lambda x: stack(x, training=True), input_signature=[tf.TensorSpec([None, None, None, WIDTH])])
    before = [numpy(v) for v in stack.non_trainable_weights]
    assert train(tf.zeros([0, 6, 6, WIDTH])).shape == (0, 6, 6, WIDTH)
    assert_close([*stack.non_trainable_weights], before, 0)
    for shape in ((1, 6, 6), (5, 6, 6), (2, 3, 8)):
        assert train(normal(*shape, WIDTH)).shape == (*shape, WIDTH)
    after = [numpy(v) for v in stack.non_trainable_weights]
    assert all(np.isfinite(a).all() and (a != b).all() for a, b in zip(after, before, strict=True))
