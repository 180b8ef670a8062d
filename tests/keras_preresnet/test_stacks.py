"""A stack as a Keras layer: its weights, its graph, its random state, its settings."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import (
    DESIGN_NAMES,
    SHORTCUT_NAMES,
    assert_close,
    assert_one_line,
    graph_of,
    normal,
    numpy,
    randomize,
)

from keras_preresnet import ResidualUnit, UnitStack

FORMS = {
    "by default": {},
    "unrolled": {"unroll": True},
    "looped": {"unroll": False},
    "rematerialised": {"unroll": False, "remat": True},
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def built(count=5, form=None, width=4, **unit):
    stack = UnitStack(ResidualUnit(width, **unit), count, **(form or {}), name="stack")
    stack.build((None, None, None, width))
    return stack


@every_form
def test_its_weights_are_those_of_its_units_stacked(form):
    stack = built(5, form, branch="bottleneck", design="original", shortcut="exclusive_gating")
    norms = [
        (f"norm{k}_{name}", (5, width))
        for k, width in ((1, 1), (2, 1), (3, 4))
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    ]
    kernels = [("conv1_kernel", (5, 1, 1, 4, 1)), ("conv2_kernel", (5, 3, 3, 1, 1)), ("conv3_kernel", (5, 1, 1, 1, 4))]
    gate = [("shortcut_gate_kernel", (5, 1, 1, 4, 4)), ("shortcut_gate_bias", (5, 4))]
    assert sorted((v.path, tuple(v.shape)) for v in stack.weights) == sorted(
        (f"stack/{name}", shape) for name, shape in norms + kernels + gate
    )
    assert all(getattr(stack, v.name) is v for v in stack.weights)
    assert {v.name for v in stack.non_trainable_weights} == {name for name, _ in norms if "moving" in name}
    assert stack.count_params() == sum(np.prod(shape) for _, shape in norms + kernels + gate)


@pytest.mark.parametrize("shortcut", SHORTCUT_NAMES)
@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_it_has_as_many_parameters_as_its_units(design, shortcut):
    unit = ResidualUnit(8, design=design, shortcut=shortcut)
    unit.build((None, 4, 4, 8))
    stack = built(7, width=8, design=design, shortcut=shortcut)
    assert stack.count_params() == 7 * unit.count_params()
    trainable = sum(np.prod(v.shape) for v in stack.trainable_weights)
    assert trainable == 7 * sum(np.prod(v.shape) for v in unit.trainable_weights)


@every_form
@pytest.mark.parametrize("branch", ["basic", "bottleneck"])
def test_every_unit_starts_with_kernels_and_a_fan_of_its_own(branch, form):
    stack = built(3, form, width=64, branch=branch, shortcut="convolution", design="original")
    kernels = [v for v in stack.weights if v.name.endswith("kernel")]
    assert len(kernels) == {"basic": 3, "bottleneck": 4}[branch]
    for kernel in kernels:
        _, size, _, _, n_out = kernel.shape
        rows = numpy(kernel)
        for row in rows:  # The fan of the stacked shape would be three times as large.
            assert row.std() == pytest.approx(np.sqrt(2 / (size**2 * n_out)), rel=0.07)
        assert all(abs(np.corrcoef(rows[i].ravel(), rows[j].ravel())[0, 1]) < 0.15 for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("shortcut", ["exclusive_gating", "shortcut_only_gating"])
def test_every_gate_starts_at_its_bias(shortcut):
    stack = built(3, shortcut=shortcut, shortcut_options={"gate_bias": -2.5})
    assert_close(stack.shortcut_gate_bias, np.full((3, 4), -2.5), 0)


def nodes(count, training, **stack):
    """Operations in the graph of the stack and its gradient, those of library functions included."""
    stack = built(count, **stack)

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.cast(stack(x, training=training), tf.float32)
        return tape.gradient(y, [x, *(v.value for v in stack.trainable_variables)])

    graph = graph_of(step, 4, 4, 4).as_graph_def()
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "stack",
    [
        {},
        {"form": {"remat": True}},
        {"form": {"unroll": False}, "shortcut": "dropout", "dtype": "mixed_bfloat16"},
        {"shortcut": "exclusive_gating", "branch": "bottleneck", "design": "original"},
    ],
    ids=str,
)
def test_the_graph_does_not_grow_with_the_count(stack, training):
    assert nodes(40, training, **stack) == nodes(10, training, **stack)


def test_the_unrolled_graph_has_every_unit():
    stack = built(10, {"unroll": True})
    types = [op.type for op in graph_of(stack, 4, 4, 4).get_operations()]
    assert types.count("Conv2D") == 20
    assert "While" not in types
    assert "StatelessWhile" not in types


def kept(stack, x, run):
    """Where h is not zero, after all the units of a stack whose F is zero."""
    stack.conv2_kernel.assign(tf.zeros_like(stack.conv2_kernel))
    return numpy(run(x)) != 0


@pytest.mark.parametrize("eager", [True, False])
@every_form
def test_every_unit_drops_a_share_of_its_own(form, eager):
    """Three alike masks would keep a half; three of their own keep an eighth. Two calls differ."""
    stack = built(3, form, shortcut="dropout")
    run = lambda x: stack(x, training=True)  # noqa: E731
    run = run if eager else tf.function(run)
    x = normal(10, 16, 16, 4)
    first, second = kept(stack, x, run), kept(stack, x, run)
    assert first.mean() == pytest.approx(1 / 8, abs=0.01)
    assert np.mean(first & second) == pytest.approx(1 / 64, abs=0.005)
    assert np.mean(numpy(stack(x, training=False)) / numpy(x)) == pytest.approx(1 / 8, rel=1e-5)


@pytest.mark.parametrize("eager", [True, False])
def test_the_seed_makes_the_masks_reproducible_in_every_form(eager):
    x = normal(2, 8, 8, 4)

    def masks(seed, form):
        stack = built(3, form, shortcut="dropout", shortcut_options={"seed": seed})
        run = lambda x: stack(x, training=True)  # noqa: E731
        return kept(stack, x, run if eager else tf.function(run))

    expected = masks(7, {})
    assert all(np.array_equal(masks(7, form), expected) for form in FORMS.values())
    assert not np.array_equal(masks(8, {}), expected)


@pytest.mark.parametrize(
    ("design", "form"),
    [*((design, FORMS["looped"]) for design in DESIGN_NAMES), *(("original", form) for form in FORMS.values())],
)
def test_frozen_it_runs_on_its_moving_statistics(design, form):
    stack = randomize(built(3, form, design=design))
    x = normal(4, 6, 6, 4) * 2 + 1
    expected, weights = numpy(stack(x, training=False)), [numpy(v) for v in stack.weights]
    stack.trainable = False
    assert stack.trainable_weights == []
    for run in (stack, tf.function(stack)):
        assert_close(run(x, training=True), expected)
    assert all(np.array_equal(numpy(v), before) for v, before in zip(stack.weights, weights, strict=True))
    stack.trainable = True
    assert np.abs(numpy(tf.function(stack)(x, training=True)) - expected).max() > 0.1
    assert 0 < len(stack.trainable_weights) < len(weights)


CONFIG = {"count": 9, "unroll": True, "remat": True, "name": "mine", "trainable": False}
UNIT = {
    "filters": 12,
    "branch": "bottleneck",
    "design": "relu_before_addition",
    "shortcut": "dropout",
    "shortcut_options": {"rate": 0.25, "seed": 3},
    "widening": "zero_padding",
    "stride_place": "3x3",
    "preactivate": False,
}


@pytest.mark.parametrize("is_built", [False, True])
@pytest.mark.parametrize("setting", CONFIG)
def test_the_config_holds_every_setting(setting, is_built):
    stack = UnitStack(ResidualUnit(**UNIT, dtype="mixed_bfloat16"), **CONFIG)
    if is_built:
        stack.build((None, 4, 4, 12))
    config = stack.get_config()
    again = UnitStack.from_config(config)
    assert getattr(again, setting) == config[setting] == CONFIG[setting]
    assert again.dtype_policy.name == "mixed_bfloat16"
    unit = config["unit"]["config"]
    assert {name: unit[name] for name in UNIT} == UNIT
    assert again.get_config() == config


@pytest.mark.parametrize("unroll", [None, True, False])
def test_unroll_keeps_its_three_values(unroll):
    stack = UnitStack(ResidualUnit(4), 2, unroll=unroll)
    assert UnitStack.from_config(stack.get_config()).unroll is unroll


def test_it_takes_the_policy_of_its_unit():
    assert built(2, dtype="mixed_float16")(normal(1, 4, 4, 4)).dtype.name == "float16"
    keras.config.set_dtype_policy("mixed_bfloat16")
    stack = built(2)
    assert stack(normal(1, 4, 4, 4)).dtype.name == "bfloat16"
    assert {v.dtype for v in stack.weights} == {"float32"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": 0}, ["count=0", "at least 1"]),
        ({"count": 2.0}, ["count=2.0", "whole number"]),
        ({"unit": keras.layers.ReLU()}, ["ReLU", "ResidualUnit"]),
        ({"unit": "basic"}, ["'basic'", "ResidualUnit"]),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, words):
    with pytest.raises(ValueError, match="is refused") as error:
        UnitStack(**{"unit": ResidualUnit(4), "count": 2, **arguments})
    assert_one_line(error, *words)


def test_a_built_unit_is_refused():
    unit = ResidualUnit(4)
    unit.build((None, 4, 4, 4))
    with pytest.raises(ValueError, match="is refused") as error:
        UnitStack(unit, 2)
    assert_one_line(error, "not yet built")


@pytest.mark.parametrize(("strides", "channels"), [(2, 4), (1, 3)])
def test_units_that_widen_cannot_be_stacked(strides, channels):
    with pytest.raises(ValueError, match="cannot stack") as error:
        UnitStack(ResidualUnit(4, strides), 2, name="mine").build((None, 4, 4, channels))
    assert_one_line(error, "mine", f"stride {strides}", "width 4", f"width {channels}")
