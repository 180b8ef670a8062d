"""Nets that are not there, damaged, or not ours: one line each."""

import json
import zipfile

import keras
import numpy as np
import pytest

from keras_preresnet import ResidualNetwork, create_model, model_class_names, model_preprocessing
from training.answering import load_net, newest_version
from training.errors import UserError


def _head(x):
    return keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))


def _net():
    return ResidualNetwork(units=(2,), widths=(8,), stem_width=8, classes=3, input_shape=(8, 8, 1))


class _Foreign(keras.layers.Layer):
    def call(self, inputs):
        return inputs


def _save(path, layer=None, outputs=None):
    images = keras.Input((8, 8, 1))
    x = images if layer is None else layer(images)
    keras.Model(images, _head(x) if outputs is None else outputs(x)).save(path)


def _refused(path):
    with pytest.raises(UserError) as caught:
        load_net(str(path))
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_a_path_that_is_none(tmp_path):
    exported = "a SavedModel, an exported .onnx or .tflite file"
    needed = f"a run folder, a .keras file, {exported}, or packaged weights as PreResNet20:cifar10 are needed"
    for name in ("none", "a:b.keras"):
        assert _refused(tmp_path / name) == f"--net={tmp_path / name} does not exist; {needed}."
    (tmp_path / "net.h5").write_bytes(b"")
    assert _refused(tmp_path / "net.h5") == f"--net={tmp_path / 'net.h5'} is refused: {needed}."
    assert _refused(tmp_path) == f"--net={tmp_path} holds no net; {needed}."


def test_a_run_that_is_not_finished(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    assert "holds no model.keras: the run is not finished" in _refused(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_record(tmp_path, text):
    _save(tmp_path / "model.keras")
    (tmp_path / "run.json").write_text(text)
    assert "run.json is damaged; mend it, or take it away" in _refused(tmp_path)


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_file_that_is_cut_off(tmp_path, share):
    path = tmp_path / "net.keras"
    _save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert _refused(path) == f"{path} is damaged or no .keras file; save the net again."


def test_a_file_with_a_wrong_byte_in_its_weights(tmp_path):
    path = tmp_path / "net.keras"
    _net().save(path)
    with zipfile.ZipFile(path) as archive:
        weights = archive.getinfo("model.weights.h5")
    data = bytearray(path.read_bytes())
    data[weights.header_offset + weights.compress_size // 2] ^= 255
    path.write_bytes(data)
    assert "is damaged" in _refused(path)


def test_an_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("a.txt", "a")
    assert "net.keras cannot be loaded" in _refused(tmp_path / "net.keras")


def test_python_code_is_never_run(tmp_path):
    path = tmp_path / "net.keras"
    _save(path, keras.layers.Lambda(lambda x: 2 * x))
    assert "it holds Python code, a Lambda layer, which is never run" in _refused(path)


def test_a_foreign_layer_is_named(tmp_path):
    path = tmp_path / "net.keras"
    _save(path, _Foreign())
    assert "Could not locate class '_Foreign'; only layers of Keras and of keras_preresnet" in _refused(path)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (lambda x: keras.layers.Conv2D(3, 1)(x), r"maps (None, 8, 8, 1) to (None, 8, 8, 3)"),
        (lambda x: [_head(x), _head(x)], "a net from images to one score a class is needed"),
        (lambda x: keras.layers.Dense(3, activation="sigmoid")(keras.layers.Flatten()(x)), "the activation sigmoid"),
    ],
)
def test_a_net_that_does_not_classify_images(tmp_path, outputs, words):
    _save(tmp_path / "net.keras", outputs=outputs)
    assert words in _refused(tmp_path / "net.keras")


def test_a_saved_model_of_another_kind(tmp_path):
    _net().export(tmp_path / "net", verbose=False)
    assert "has no signature from uint8 'images' to 'logits'" in _refused(tmp_path / "net")


def test_a_damaged_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    assert str(tmp_path) in _refused(tmp_path)


def test_a_net_is_called_what_its_run_calls_it(tmp_path):
    _save(tmp_path / "model.keras")
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"model": "Tiny"}}))
    assert load_net(str(tmp_path)).name == "Tiny"
    assert load_net(str(tmp_path / "model.keras")).name == "Tiny"


def test_the_newest_version_is_the_highest_number(tmp_path):
    for version in ("2", "10", "old"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").write_bytes(b"")
    (tmp_path / "11").mkdir()
    assert newest_version(str(tmp_path), "net") == tmp_path / "10"
    assert newest_version(str(tmp_path / "2"), "net") == tmp_path / "2"


def test_packaged_weights_are_a_net_that_knows_its_data():
    net = load_net("preresnet20:CIFAR10")
    model = create_model("PreResNet20", weights="cifar10")
    assert (net.name, net.record["settings"]["data"]) == ("PreResNet20", "cifar10")
    assert net.class_names == model_class_names(model)
    assert net.preprocessing(lambda: pytest.fail("asked for")) == model_preprocessing(model)
    for ours, theirs in zip(net.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["PreResNet20:birds", "PreResNet21:cifar10", ":"])
def test_packaged_weights_that_are_not_there_are_refused(name):
    assert "packaged are: PreResNet20 'cifar10'" in _refused(name)
