"""What Keras and TensorFlow do with a net whose units run as a loop: count, clone, freeze, fit, export, check-point."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import DESIGN_NAMES, SHORTCUT_NAMES, assert_close, graph_of, normal, numpy, randomize, statistics

from keras_preresnet import ResidualNetwork, ResidualUnit, UnitStack

# The weights of a post-activation design with convolutions on its shortcuts are those of the others and more.
every_kind_of_weights = pytest.mark.parametrize(
    ("design", "shortcut"),
    [
        *(("full_preactivation", shortcut) for shortcut in SHORTCUT_NAMES),
        *((design, "convolution") for design in DESIGN_NAMES[:-1]),
    ],
)
LABELS = np.arange(16) % 3


def looped(**options):
    """Units (6, 3): a unit and a stack in each stage, run as loops."""
    arguments = {"widths": (4, 8), "stem_width": 4, "input_shape": (8, 8, 3), "classes": 3, "unroll": False}
    return randomize(ResidualNetwork(units=(6, 3), **{**arguments, **options}))


def compiled(model, **options):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"], **options)
    return model


def images(seed=0):
    return numpy(normal(16, 8, 8, 3, seed=seed))


def test_the_nets_of_this_file_run_as_loops():
    model = looped()
    graph = graph_of(lambda x: model(x, training=True), 8, 8, 3)
    assert [op.type in ("While", "StatelessWhile") for op in graph.get_operations()].count(True) == 2


def test_parameters_are_counted_once():
    """Basic units of width w that keep it: 18 w^2 in kernels, 4 w in gammas and betas, 4 w in statistics."""
    model = looped()
    stack = model.get_layer("stage1_units")
    assert stack.count_params() == 5 * (18 * 4**2 + 8 * 4)
    assert model.get_layer("stage2_units").count_params() == 2 * (18 * 8**2 + 8 * 8)
    unrolled = looped(unroll=True)
    assert model.count_params() == unrolled.count_params()
    assert len(model.variables) == len(unrolled.variables) == len({id(v) for v in model.variables})
    stem, head = 27 * 4 + 4 * 4, 4 * 8 + 8 * 3 + 3
    first = 18 * 4**2 + 4 * 4
    second = 9 * 4 * 8 + 9 * 8**2 + 4 * 4 + 4 * 8
    assert model.count_params() == stem + first + 5 * (18 * 4**2 + 8 * 4) + second + 2 * (18 * 8**2 + 8 * 8) + head


def test_the_summary_names_every_layer_once(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    lines = []
    looped().summary(print_fn=lines.append, line_length=120)
    text = "\n".join(lines)
    for name in ("stage1_unit1 ", "stage1_units ", "stage2_unit1 ", "stage2_units "):
        assert text.count(name) == 1
    assert f"{5 * (18 * 4**2 + 8 * 4):,}" in text
    assert f"Total params: {looped().count_params():,} " in text
    nested = []
    looped().summary(print_fn=nested.append, line_length=120, expand_nested=True)
    assert f"Total params: {looped().count_params():,} " in "\n".join(nested)


@every_kind_of_weights
def test_a_clone_is_the_same_net_with_weights_of_its_own(design, shortcut):
    model = looped(design=design, shortcut=shortcut, remat=True)
    clone = keras.models.clone_model(model)
    stack = clone.get_layer("stage1_units")
    assert (stack.count, stack.unroll, stack.remat) == (5, False, True)
    assert [v.path for v in clone.weights] == [v.path for v in model.weights]
    assert not {id(v) for v in clone.variables} & {id(v) for v in model.variables}
    clone.set_weights(model.get_weights())
    assert_close(clone(images()), model(images()), 1e-6)


def test_a_clone_draws_new_weights():
    model = looped()
    clone = keras.models.clone_model(model)
    a, b = (numpy(m.get_layer("stage1_units").conv1_kernel) for m in (model, clone))
    assert not np.isclose(a, b).any()


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
@pytest.mark.parametrize(
    ("design", "shortcut"), [*((design, "identity") for design in DESIGN_NAMES), ("full_preactivation", "dropout")]
)
def test_a_frozen_model_does_not_move(design, shortcut):
    model = looped(design=design, shortcut=shortcut)
    model.trainable = False
    weights = model.get_weights()
    assert model.trainable_weights == []
    if shortcut == "identity":
        assert_close(model(images(), training=True), model(images(), training=False))
    compiled(model).fit(images(), LABELS, epochs=2, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights, strict=True))


@pytest.mark.parametrize("design", [pytest.param("original", marks=pytest.mark.slow), "full_preactivation"])
def test_a_frozen_stack_and_unit_do_not_move_until_they_are_freed(design):
    model = looped(design=design)
    frozen = [model.get_layer(name) for name in ("stage1_units", "stage2_unit1")]
    for layer in frozen:
        layer.trainable = False
    before = {layer.name: layer.get_weights() for layer in model.layers}
    compiled(model).fit(images(), LABELS, epochs=2, verbose=0)
    for layer in model.layers:
        moved = [not np.array_equal(a, b) for a, b in zip(layer.get_weights(), before[layer.name], strict=True)]
        assert not any(moved) if layer in frozen else all(moved), layer.name
    for layer in frozen:
        x = normal(16, *layer.input.shape[1:])
        assert_close(layer(x, training=True), layer(x, training=False))
    for layer in frozen:
        layer.trainable = True
    compiled(model).fit(images(), LABELS, verbose=0)
    for layer in frozen:
        moved = [not np.array_equal(a, b) for a, b in zip(layer.get_weights(), before[layer.name], strict=True)]
        assert all(moved), layer.name


def test_fit_keeps_the_model_in_checkpoints(tmp_path):
    model = compiled(looped())
    files = [tmp_path / "model.keras", tmp_path / "model.weights.h5"]
    keep = [keras.callbacks.ModelCheckpoint(f, save_weights_only="weights" in f.name) for f in files]
    history = model.fit(images(), LABELS, batch_size=8, epochs=3, verbose=0, callbacks=keep).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]
    again = keras.saving.load_model(files[0])
    assert_close(again.get_weights(), model.get_weights(), 0)
    assert again.evaluate(images(), LABELS, verbose=0) == pytest.approx(model.evaluate(images(), LABELS, verbose=0))
    again = looped()
    again.load_weights(files[1])
    assert_close(again.get_weights(), model.get_weights(), 0)


@pytest.mark.parametrize(
    ("policy", "remat"),
    [
        pytest.param("float32", False, marks=pytest.mark.slow),  # As in the checkpoints above.
        ("mixed_bfloat16", True),
        ("mixed_float16", False),
    ],
)
def test_fit_learns(policy, remat):
    """Sixteen images by heart."""
    model = compiled(looped(dtype=policy, remat=remat))
    history = model.fit(images(), LABELS, batch_size=16, epochs=25, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_a_trained_net_goes_on_after_saving_as_if_nothing_had_been(tmp_path):
    model = compiled(looped())
    model.fit(images(), LABELS, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for net in (model, again):
        net.fit(images(1), LABELS, verbose=0, shuffle=False)
    assert_close(again.get_weights(), model.get_weights(), 1e-6)


@pytest.mark.parametrize(("design", "unroll"), [*((d, False) for d in DESIGN_NAMES), ("full_preactivation", True)])
def test_export_answers_as_the_model(design, unroll, tmp_path):
    model = looped(design=design, unroll=unroll)
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    for batch in (1, 5):
        x = normal(batch, 8, 8, 3)
        assert_close(loaded.serve(x), model(x))


@every_kind_of_weights
def test_a_tensorflow_checkpoint_holds_every_weight(design, shortcut, tmp_path):
    """`assert_existing_objects_matched` passes when half of them are missing: every value is compared.

    As with stock Keras layers, the random state of dropout is no part of it.
    """
    model, again = (looped(design=design, shortcut=shortcut) for _ in range(2))
    model(images(), training=True)
    model.set_weights([w + 0.25 for w in model.get_weights()])
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=again).restore(path).assert_existing_objects_matched()
    assert len(statistics(again)) == len(statistics(model)) > 8
    assert all(np.array_equal(a, b) for a, b in zip(again.get_weights(), model.get_weights(), strict=True))


def test_a_stack_in_anybodys_own_model():
    """As a user would write it; the global policy is half precision."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    x = inputs = keras.Input((None, None, 8))
    x = UnitStack(ResidualUnit(8, shortcut="shortcut_only_gating"), 6)(x)
    x = ResidualUnit(16, strides=2)(x)
    x = UnitStack(ResidualUnit(16, branch="bottleneck"), 5, remat=True)(x)
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(keras.layers.GlobalAveragePooling2D()(x)))
    history = compiled(model).fit(normal(16, 6, 6, 8), LABELS, epochs=20, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
