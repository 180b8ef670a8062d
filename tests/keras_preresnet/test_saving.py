"""Files: every unit in a fresh process, and one layout of the weights however the units run."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import keras
import numpy as np
import pytest
from library_helpers import (
    BRANCH_NAMES,
    DESIGN_NAMES,
    SHORTCUT_NAMES,
    assert_close,
    normal,
    numpy,
    randomize,
    statistics,
)

from keras_preresnet import ResidualNetwork, ResidualUnit, UnitStack

KINDS = list(product(SHORTCUT_NAMES, BRANCH_NAMES))
FORMS = {
    "looped": {"unroll": False},
    "unrolled": {"unroll": True},
    "rematerialised": {"unroll": False, "remat": True},
    "by default": {},
}


def every_unit(design, kinds=KINDS, **form):
    """One model with an output for each kind, a shortcut and a branch: a widening unit, and a stack after it."""
    images = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, name="stem")(images)
    outputs = []
    for shortcut, branch in kinds:
        unit = {"branch": branch, "design": design, "shortcut": shortcut}
        widening = ("projection", "zero_padding")[len(outputs) % 2]
        y = ResidualUnit(8, strides=2, widening=widening, stride_place="3x3", name=f"{shortcut}_{branch}_unit", **unit)(
            x
        )
        y = UnitStack(ResidualUnit(8, **unit), 2, name=f"{shortcut}_{branch}_units", **form)(y)
        outputs.append(keras.layers.GlobalAveragePooling2D()(y))
    return keras.Model(images, keras.ops.stack(outputs, axis=1), name=design)


def images_for(model, seed=0):
    height, width, channels = model.input_shape[1:]
    return normal(4, height or 32, width or 32, channels, seed=seed)


def trained(model):
    """Weights and statistics that are not those of the start."""
    randomize(model)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    return model


def save(model, folder, name):
    """The model, its weights, an input, and the output as computed in this process."""
    x = numpy(images_for(model, seed=5)).astype("float32")
    y = keras.ops.convert_to_numpy(model(x, training=False))
    assert np.isfinite(y).all()
    assert np.ptp(y, axis=0).max(axis=-1).min() > 0
    model.save(folder / f"{name}.keras")
    model.save_weights(folder / f"{name}.weights.h5")
    np.savez(folder / f"{name}.npz", x=x, y=y)


def networks():
    """Whole nets of two designs, of each family and policy; the units of every design are beside them."""
    tiny = {"units": (6, 2), "widths": (4, 8), "stem_width": 4, "unroll": False}
    for design in ("original", "full_preactivation"):
        yield f"net_{design}", ResidualNetwork(design=design, input_shape=(8, 8, 3), **tiny)
    yield "imagenet", ResidualNetwork(**tiny, family="imagenet", input_shape=(None, None, 3), branch="bottleneck")
    for policy in ("mixed_bfloat16", "mixed_float16", "float64"):
        yield policy, ResidualNetwork(**tiny, dtype=policy, input_shape=(8, 8, 3), shortcut="exclusive_gating")


def in_turn(number):
    """Every shortcut, with a branch of its own, another one for the next number."""
    return [(shortcut, BRANCH_NAMES[(number + k) % 3]) for k, shortcut in enumerate(SHORTCUT_NAMES)]


def test_everything_saved_gives_the_same_outputs_in_a_fresh_process(tmp_path):
    """Every two of design, shortcut and branch; all three in the slow test."""
    units = {design: every_unit(design, in_turn(k), unroll=False) for k, design in enumerate(DESIGN_NAMES)}
    require_the_same_in_a_fresh_process({**units, **dict(networks())}, tmp_path)


@pytest.mark.slow
def test_every_unit_saved_gives_the_same_outputs_in_a_fresh_process(tmp_path):
    require_the_same_in_a_fresh_process({design: every_unit(design, unroll=False) for design in DESIGN_NAMES}, tmp_path)


def require_the_same_in_a_fresh_process(models, tmp_path):
    for name, model in models.items():
        save(trained(model), tmp_path, name)
    script = Path(__file__).with_name("fresh_process.py")
    process = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.split("\n")[:-1] == [f"same {name}" for name in sorted(models)]


@pytest.mark.parametrize("design", ["original", pytest.param("full_preactivation", marks=pytest.mark.slow)])
def test_weights_saved_in_one_form_load_into_the_others(design, tmp_path):
    """With the same weights the forms compute the same: test_stacks_equality.py."""
    kinds = list(product(SHORTCUT_NAMES, ["basic"]))
    forms = [every_unit(design, kinds, **FORMS[name]) for name in ("looped", "unrolled", "rematerialised")]
    file = tmp_path / "model.weights.h5"
    for seed, model in enumerate(forms):
        weights = randomize(model, seed).get_weights()
        model.save_weights(file)
        for other in forms:
            if other is not model:
                randomize(other, seed + 100).load_weights(file)
                assert_close(other.get_weights(), weights, 0)


def tiny(**options):
    arguments = {"units": (6, 2), "widths": (4, 8), "stem_width": 4, "input_shape": (8, 8, 3)}
    return ResidualNetwork(**{**arguments, **options})


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_form_is_saved_and_is_no_part_of_the_weights(form, tmp_path):
    model = tiny(**form)
    model.save(tmp_path / "model.keras")
    stack = keras.saving.load_model(tmp_path / "model.keras").get_layer("stage1_units")
    assert (stack.unroll, stack.remat) == (form.get("unroll"), form.get("remat", False))
    assert [(v.path, tuple(v.shape)) for v in model.weights] == [(v.path, tuple(v.shape)) for v in tiny().weights]


def test_a_frozen_unit_and_stack_are_frozen_when_loaded(tmp_path):
    model = trained(tiny())
    for name in ("stage1_units", "stage2_unit1", "stem_norm"):
        model.get_layer(name).trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    before = statistics(again)
    x = normal(4, 8, 8, 3) * 2 + 1
    assert_close(again(x, training=True), model(x, training=True))
    after = statistics(again)
    frozen = ("stage1_units/", "stage2_unit1/", "stem_norm/")
    assert {name for name in before if np.array_equal(before[name], after[name])} == {
        name for name in before if name.startswith(frozen)
    }
    assert len(again.trainable_weights) == len(model.trainable_weights)
