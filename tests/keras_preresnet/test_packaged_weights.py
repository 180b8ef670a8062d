"""Packaged weights and `.keras` files as `weights=`: into the same net, or not at all; what is fitted is said."""

import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from library_helpers import assert_close, assert_one_line, normal, randomize
from transfer_helpers import IMAGES, PETS, tiny

from keras_preresnet import (
    Preprocessing,
    ResidualNetwork,
    load_weights,
    model_class_names,
    model_preprocessing,
    register,
    set_preprocessing,
    weights_info,
)
from keras_preresnet.transfer import embeddings

SAME = {
    "as it is": {},
    "unrolled": {"unroll": True, "remat": True},
    "bfloat16": {"dtype": "mixed_bfloat16"},
    "pure bfloat16": {"dtype": "bfloat16"},
    "float64": {"dtype": "float64"},
    "any size": {"input_shape": (None, None, 3)},
    "softmax": {"classifier_activation": "softmax"},
    "said by depth": {"stride_place": "3x3", "widening": "zero_padding", "shortcut_options": {}},
}


def saved(model, tmp_path):
    model.save(tmp_path / "net.keras")
    return tmp_path / "net.keras"


def assert_one_warning(caught):
    """Of ours, in one line."""
    (message,) = (str(warning.message) for warning in caught if warning.category is UserWarning)
    assert "\n" not in message


@pytest.fixture(params=["packaged", ".keras"])
def source(request, packaged, tmp_path):
    """Either kind of weights of the packaged net."""
    set_preprocessing(packaged, Preprocessing((100, 110, 120), (50, 60, 70)), PETS)
    return "pets" if request.param == "packaged" else saved(packaged, tmp_path)


@pytest.mark.parametrize("options", SAME.values(), ids=SAME)
def test_the_same_net_is_loaded_with_its_preprocessing_and_its_names(options, packaged, source):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = tiny(**options, weights=source)
    assert_close(model.get_weights(), packaged.get_weights(), 4e-3 if options.get("dtype") == "bfloat16" else 0)
    assert model_preprocessing(model) == Preprocessing((100, 110, 120), (50, 60, 70))
    assert model_class_names(model) == PETS


@pytest.mark.parametrize("pooling", [None, "avg"])
def test_a_net_without_classifier_is_loaded(packaged, source, pooling):
    model = tiny(include_top=False, pooling=pooling, weights=source)
    assert_close(model.get_weights(), packaged.get_weights()[: len(model.weights)], 0)
    assert model_preprocessing(model) == Preprocessing((100, 110, 120), (50, 60, 70))
    if pooling:
        assert_close(model(IMAGES), embeddings(packaged)(IMAGES), 0)
    with pytest.raises(ValueError, match="carries no class names"):
        model_class_names(model)


OTHERS = {
    "units": ({"units": (4, 2)}, ["units=(4, 2) here, (3, 2) there"]),
    "widths": ({"widths": (4, 12)}, ["widths=(4, 12) here, (4, 8) there"]),
    "stem width": ({"stem_width": 2}, ["stem_width=2 here, 4 there"]),
    "design": ({"design": "original"}, ["design='original' here, 'full_preactivation' there"]),
    "branch": ({"branch": "one_layer"}, ["branch='one_layer' here, 'basic' there"]),
    "widening": ({"widening": "projection"}, ["widening='projection' here, 'zero_padding' there"]),
    "dropout": ({"shortcut": "dropout"}, ["shortcut='dropout' here, 'identity' there"]),
    "family": ({"family": "imagenet", "input_shape": (32, 32, 3)}, ["family='imagenet' here, 'cifar' there"]),
}


@pytest.mark.parametrize(("options", "words"), OTHERS.values(), ids=OTHERS)
def test_another_net_is_refused_naming_what_differs(options, words, source):
    """Of equal layout or not: dropout and identity have the same weights."""
    with pytest.raises(ValueError, match="another net") as error:
        tiny(**options, weights=source)
    assert_one_line(error, str(source), *words)


def test_the_options_of_a_shortcut_make_another_net(tmp_path):
    options = {"shortcut": "constant_scaling", "shortcut_options": {"scale": 0.5}}
    path = saved(tiny(**options), tmp_path)
    tiny(shortcut="constant_scaling", weights=path)
    with pytest.raises(ValueError, match=r"'scale': 0\.25") as error:
        tiny(**{**options, "shortcut_options": {"scale": 0.25}}, weights=path)
    assert_one_line(error, "'scale': 0.5")


def test_how_a_gate_began_makes_no_other_net(tmp_path):
    path = saved(tiny(shortcut="exclusive_gating", shortcut_options={"gate_bias": -6}), tmp_path)
    model = tiny(shortcut="exclusive_gating", shortcut_options={"gate_bias": -1}, weights=path)
    assert model.get_layer("stage1_unit1").shortcut_layer.gate.bias[0] == -6


def test_a_net_without_packaged_weights_lists_those_that_have_them(packaged):
    with pytest.raises(ValueError, match="packaged for Tiny") as error:
        ResidualNetwork(20, weights="pets", name="preresnet20")
    assert_one_line(error, "another net", "units=(3, 3, 3) here, (3, 2) there")


@pytest.mark.parametrize("weights", ["birds", "net.h5", 3, True])
def test_what_names_no_weights_is_refused(packaged, weights):
    with pytest.raises(ValueError, match="is refused") as error:
        tiny(weights=weights)
    assert_one_line(error, f"weights={weights!r}", "Tiny 'pets'", ".weights.h5", ".keras")


def test_other_classes_get_a_new_classifier_and_say_so(packaged):
    with pytest.warns(UserWarning, match="classifier is new and random, 5 classes instead of 3") as caught:
        model = tiny(classes=5, weights="pets")
    assert_one_warning(caught)
    assert_close(model.get_weights()[:-2], packaged.get_weights()[:-2], 0)
    assert 0 < np.abs(model.get_layer("predictions").kernel).max() <= 1 / np.sqrt(8)
    assert model_preprocessing(model) == Preprocessing((100, 110, 120), (50, 60, 70))
    with pytest.raises(ValueError, match="carries no class names"):
        model_class_names(model)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_other_channels_fit_the_first_kernel(packaged, channels):
    """Of equal channels the net makes what it made of three such channels."""
    with pytest.warns(UserWarning, match=f"first convolution is fitted to {channels} channels instead of 3"):
        model = tiny(input_shape=(8, 8, channels), weights="pets")
    x = normal(4, 8, 8, 1, seed=3)
    expected = packaged(np.repeat(x, 3, axis=-1), training=False)
    assert_close(model(np.repeat(x, channels, axis=-1), training=False), expected, 1e-5)
    kernel = packaged.get_layer("stem_conv").kernel.numpy()
    assert_close(model.get_layer("stem_conv").kernel[:, :, 0], kernel.sum(axis=2) / channels, 1e-6)
    assert model_preprocessing(model) == Preprocessing((110,) * channels, (60,) * channels)
    assert model_class_names(model) == PETS


def test_classes_and_channels_at_once(packaged):
    with pytest.warns(UserWarning, match="first convolution is fitted .* and the classifier is new") as caught:
        tiny(input_shape=(8, 8, 1), classes=2, weights="pets")
    assert_one_warning(caught)


@pytest.mark.parametrize("options", [{"classes": 5}, {"input_shape": (8, 8, 1)}], ids=str)
def test_a_file_is_not_fitted(packaged, tmp_path, options):
    with pytest.raises(ValueError, match="saved from another net") as error:
        tiny(**options, weights=saved(packaged, tmp_path))
    assert_one_line(error, "there", "here")


def _flip(data):
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


@pytest.mark.parametrize("damage", [lambda data: data[:2000], lambda data: b"", _flip], ids=["cut", "empty", "a bit"])
def test_a_damaged_packaged_file_is_refused_with_both_checksums(packaged, damage):
    entry = weights_info("Tiny", "pets")
    entry.file.write_bytes(damage(entry.file.read_bytes()))
    model = randomize(tiny(), seed=7)
    before = model.get_weights()
    with pytest.raises(ValueError, match="damaged") as error:
        load_weights(model, "pets")
    assert_one_line(error, str(entry.file), entry.sha256, "sha256 is")
    assert_close(model.get_weights(), before, 0)


@pytest.mark.parametrize("damage", [lambda data: data[:2000], lambda data: b"", None], ids=["cut", "empty", "missing"])
def test_a_damaged_keras_file_is_refused_in_one_line(tmp_path, damage):
    path = saved(tiny(), tmp_path)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="missing, damaged") as error:
        tiny(weights=path)
    assert_one_line(error, str(path))


def test_a_bit_that_fell_over_in_a_keras_file_is_found(tmp_path):
    path = saved(tiny(), tmp_path)
    path.write_bytes(_flip(path.read_bytes()))
    with pytest.raises(ValueError, match="damaged") as error:
        tiny(weights=path)
    assert_one_line(error, str(path))


def test_a_keras_file_of_a_lambda_is_refused(tmp_path):
    marker = tmp_path / "ran"
    images = keras.Input((8, 8, 3))
    net = keras.Model(images, keras.layers.Lambda(lambda x, file=str(marker): Path(file).write_text("") or x)(images))
    path = saved(net, tmp_path)
    marker.unlink()  # Building it has run it.
    with pytest.raises(ValueError, match="Lambda layer, which is never run") as error:
        tiny(weights=path)
    assert_one_line(error, str(path))
    assert not marker.exists()


def test_a_keras_file_of_foreign_layers_is_refused(tmp_path):
    path = saved(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()]), tmp_path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b'"Flatten"', b'"Evil"').replace(b'"keras.layers"', b'"evil"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match=r"net\.keras") as error:
        tiny(weights=path)
    assert_one_line(error, "cannot be loaded")


def test_a_keras_file_of_another_kind_of_model_is_refused(tmp_path):
    path = saved(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()], name="flat"), tmp_path)
    with pytest.raises(ValueError, match="no stem and stages") as error:
        tiny(weights=path)
    assert_one_line(error, str(path), "flat")


def test_a_net_that_was_trained_by_fit_is_loaded_with_its_optimizer_left_aside(tmp_path):
    model = tiny()
    model.compile(keras.optimizers.Adam(), "mse")
    model.fit(IMAGES, normal(8, 3), verbose=0)
    again = tiny(weights=saved(model, tmp_path))
    assert_close(again.get_weights(), model.get_weights(), 0)
    assert not again.compiled


def test_the_register_is_not_consulted_for_a_path(packaged, tmp_path, monkeypatch):
    packaged.save_weights(tmp_path / "pets.weights.h5")
    monkeypatch.setattr(register, "REGISTER", {})
    assert_close(tiny(weights=tmp_path / "pets.weights.h5").get_weights(), packaged.get_weights(), 0)
