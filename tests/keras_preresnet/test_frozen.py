"""A net that was frozen and then run can be copied, saved and exported, and trains again when it is freed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from seeds import draw_anew

from keras_preresnet import ResidualNetwork, ResidualUnit, UnitStack
from keras_preresnet.export import export_saved_model, float32_copy
from keras_preresnet.preprocessing import Preprocessing

IMAGES = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
SAME = Preprocessing((0.0,) * 3, (1.0,) * 3)


def _frozen_net(what, unroll=False):
    """A small net with statistics of its own, of which the whole or one stack is frozen, and which has run since."""
    draw_anew(3)
    model = ResidualNetwork(
        units=(6, 2), widths=(4, 8), stem_width=4, classes=3, input_shape=(8, 8, 3), unroll=unroll, dtype="float32"
    )
    run = tf.function(lambda x: model(x, training=True))
    for _ in range(4):
        run(IMAGES)
    (model if what == "model" else model.get_layer(what)).trainable = False
    tf.function(lambda x: model(x, training=True))(IMAGES)
    return model


def _clone(model, tmp_path):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _save_and_load(model, tmp_path):
    model.save(tmp_path / "net.keras")
    return keras.saving.load_model(tmp_path / "net.keras")


def _float32(model, tmp_path):
    return float32_copy(model, unroll=True)


@pytest.mark.parametrize("copy_of", [_clone, _save_and_load, _float32])
@pytest.mark.parametrize("what", ["model", "stage1_units", "stage2_units"])
def test_a_copy_has_the_outputs_and_the_order_of_weights(tmp_path, what, copy_of):
    model = _frozen_net(what)
    copy = copy_of(model, tmp_path)
    expected = model(IMAGES, training=False).numpy()
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(copy(IMAGES, training=False), expected, rtol=1e-5, atol=1e-5)
    assert [tuple(w.shape) for w in copy.weights] == [tuple(w.shape) for w in model.weights]


@pytest.mark.parametrize("copy_of", [_clone, _save_and_load])
@pytest.mark.parametrize("what", ["model", "stage1_units"])
def test_a_copy_is_frozen_where_the_net_is_and_can_be_freed(tmp_path, what, copy_of):
    model = _frozen_net(what)
    copy = copy_of(model, tmp_path)
    stack = copy.get_layer("stage1_units")
    assert not stack.trainable
    assert stack.trainable_weights == []
    copy.trainable = True
    for layer in copy.layers:  # Keras passes over the line above where the copy itself was not frozen.
        layer.trainable = True
    assert len(copy.trainable_weights) == 29  # Stem 3, units 4 and 6, stacks 6 and 6, head 2, classifier 2.


def test_a_net_freed_after_a_run_is_copied_as_free():
    model = _frozen_net("model")
    model.trainable = True
    copy = keras.models.clone_model(model)
    assert [w.path for w in copy.trainable_weights] == [w.path for w in model.trainable_weights]


@pytest.mark.parametrize("what", ["model", "stage1_units"])
def test_a_frozen_net_is_exported(tmp_path, what):
    model = _frozen_net(what)
    images = np.random.default_rng(1).integers(0, 5, (2, 8, 8, 3), dtype=np.uint8)
    served = tf.saved_model.load(str(export_saved_model(model, tmp_path, SAME, "abc")))
    logits = served.signatures["serving_default"](images=tf.constant(images))["logits"]
    np.testing.assert_allclose(logits, model(images.astype("float32"), training=False), rtol=1e-4, atol=1e-4)


def test_a_stack_of_a_frozen_unit_is_frozen_until_it_is_freed():
    stack = UnitStack(ResidualUnit(4, trainable=False), 3)
    stack.build((None, 4, 4, 4))
    assert not stack.trainable
    assert stack.trainable_weights == []
    stack.trainable = True
    names = {w.name for w in stack.trainable_weights}
    assert names == {"conv1_kernel", "conv2_kernel"} | {
        f"{norm}_{part}" for norm in ("preactivation", "norm1") for part in ("gamma", "beta")
    }


def test_one_unit_serves_two_stacks():
    unit = ResidualUnit(4)
    first, second = UnitStack(unit, 2), UnitStack(unit, 3)
    x = IMAGES[..., :1].repeat(4, axis=-1)
    assert first(second(x)).shape == (4, 8, 8, 4)
    assert np.any(first.conv1_kernel[0].numpy() != second.conv1_kernel[0].numpy())


def test_a_dtype_that_is_not_the_units_is_refused():
    with pytest.raises(ValueError, match="dtype='float16' is refused: a stack has that of its unit, float32"):
        UnitStack(ResidualUnit(4, dtype="float32"), 2, dtype="float16")
