"""Nets tested on another crop than they were trained on."""

import keras
import numpy as np
import pytest
from evaluation_stand_in import (
    IMAGES,
    LABELS,
    NAMES,
    PREPROCESSING,
    RECORD,
    ArraySplit,
    EncodedSplit,
    run_job,
    save_run,
    small_net,
)

from keras_preresnet.export import export_saved_model
from keras_preresnet.preprocessing import Preprocessing
from training.answering import load_net
from training.errors import UserError
from training.measures import measure_answers


@pytest.mark.parametrize("side", [8, None])
def test_a_net_is_built_again_for_another_crop(monkeypatch, tmp_path, side):
    """Trained at 8 (or for any size), tested on the centre crop of 10."""
    model = small_net(side)
    folder = save_run(model, tmp_path / "run", RECORD)
    facts, _ = run_job(monkeypatch, tmp_path, folder, EncodedSplit(IMAGES, LABELS), crop=10)
    wide = small_net(10)
    wide.set_weights(model.get_weights())
    expected = measure_answers(wide(Preprocessing((90.0,) * 3, (30.0,) * 3)(IMAGES[:, :10, :10])), LABELS)
    assert (facts["crop"], facts["image_shape"]) == (10, [10, 10, 3])
    assert facts["loss"] == pytest.approx(expected["loss"].mean(), rel=1e-5)


def test_a_frozen_net_can_be_cropped_too(tmp_path):
    model = small_net()
    model.trainable = False
    model.save(tmp_path / "frozen.keras")
    net = load_net(str(tmp_path / "frozen.keras")).for_side(10)
    assert net.image_shape == (10, 10, 3)
    for ours, theirs in zip(net.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("side", [8, None])
def test_a_net_without_a_run_is_cropped_from_encoded_images(monkeypatch, tmp_path, side):
    small_net(side).save(tmp_path / "net.keras")
    facts, loaded = run_job(monkeypatch, tmp_path, tmp_path / "net.keras", EncodedSplit(IMAGES, LABELS), crop=10)
    assert (facts["crop"], loaded) == (10, {"augmentation": "scale", "image_size": 10})


def test_a_crop_is_refused_for_images_kept_in_memory(monkeypatch, tmp_path):
    folder = save_run(small_net(), tmp_path / "run", RECORD)
    with pytest.raises(UserError, match="--crop=10 is refused: the images of numbered are kept in memory at 12x12x3"):
        run_job(monkeypatch, tmp_path, folder, ArraySplit(IMAGES, LABELS), crop=10)


def _flat_net():
    images = keras.Input((8, 8, 3))
    return keras.Model(images, keras.layers.Dense(6)(keras.layers.Flatten()(images)))


def _pooled_and_flat_net():
    images = keras.Input((8, 8, 3))
    both = [keras.layers.Flatten()(images), keras.layers.GlobalAveragePooling2D()(images)]
    return keras.Model(images, keras.layers.Dense(6)(keras.layers.Concatenate()(both)))


@pytest.mark.parametrize(
    ("build", "words"), [(_flat_net, "it has no global pooling"), (_pooled_and_flat_net, "its weights depend on their")]
)
def test_a_crop_is_refused_for_a_net_of_one_size(tmp_path, build, words):
    build().save(tmp_path / "net.keras")
    with pytest.raises(UserError, match=f"--crop=10 is refused: .* takes images of 8x8x3 only, for {words}") as caught:
        load_net(str(tmp_path / "net.keras")).for_side(10)
    assert "\n" not in str(caught.value)


def test_a_saved_model_is_cropped_only_if_it_takes_any_size(tmp_path):
    export_saved_model(small_net(), tmp_path / "fixed", PREPROCESSING, NAMES)
    export_saved_model(small_net(None), tmp_path / "free", PREPROCESSING, NAMES)
    with pytest.raises(UserError, match=r"--crop=10 is refused: the SavedModel \w+ takes images of 8x8x3 only"):
        load_net(str(tmp_path / "fixed")).for_side(10)
    assert load_net(str(tmp_path / "fixed")).for_side(8).image_shape == (8, 8, 3)
    assert load_net(str(tmp_path / "free")).for_side(10).image_shape == (None, None, 3)
