"""What is asked about images: an export, or the export of a net for the moment, which answers as the net does."""

import tempfile

import keras
import numpy as np
import pytest
from evaluation_stand_in import NAMES, RECORD, save_run, small_net

from keras_preresnet import create_model, preprocess_input, set_preprocessing
from keras_preresnet.export import export_saved_model
from keras_preresnet.preprocessing import Preprocessing
from training.errors import UserError
from training.exported_net import load_exported, require_one

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


def _logits(net, images):
    return net.module.signatures["predict"](images=images)["logits"].numpy()


def test_the_newest_of_the_versions_is_asked(tmp_path):
    for deviation in (30, 60):
        export_saved_model(small_net(), tmp_path / "net", Preprocessing((90,) * 3, (deviation,) * 3), NAMES)
    source, net = load_exported(str(tmp_path / "net"), None)
    assert source == str(tmp_path / "net" / "2")
    first, second = (load_exported(str(tmp_path / "net" / version), None)[1] for version in "12")
    np.testing.assert_array_equal(_logits(net, PIXELS), _logits(second, PIXELS))
    assert not np.allclose(_logits(net, PIXELS), _logits(first, PIXELS))


@pytest.mark.parametrize(("augmentation", "short_side"), [("translation", 8), ("scale", 9)])
def test_a_run_answers_as_its_net(tmp_path, augmentation, short_side):
    model = small_net()
    record = {**RECORD, "settings": {**RECORD["settings"], "augmentation": augmentation}}
    folder = save_run(model, tmp_path / "run", record)
    source, net = load_exported(None, str(folder))
    assert (source, net.class_names, net.short_side) == (str(folder), tuple(NAMES), short_side)
    expected = model((PIXELS.astype(np.float32) - 90) / 30, training=False)
    np.testing.assert_allclose(_logits(net, PIXELS), expected, atol=1e-4)


def test_packaged_weights_are_asked_by_their_name():
    source, net = load_exported(None, "PreResNet20:cifar10")
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    model = create_model("PreResNet20", weights="cifar10")
    expected = model(preprocess_input(images.astype(np.float32), weights="cifar10"), training=False)
    np.testing.assert_allclose(_logits(net, images), expected, atol=1e-3)
    assert (source, net.class_names[3]) == ("PreResNet20:cifar10", "cat")


def test_just_one_is_given():
    with pytest.raises(UserError, match="either --saved_model or --net is needed"):
        require_one(None, None)
    with pytest.raises(UserError, match="--saved_model=net and --net=run exclude each other"):
        require_one("net", "run")


def test_a_net_without_names_of_classes_has_none_and_leaves_no_folder(tmp_path, monkeypatch):
    """Numbers in their place would be other names than those of any data set."""
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    model = small_net()
    set_preprocessing(model, Preprocessing((90,) * 3, (30,) * 3))
    model.save(tmp_path / "nameless.keras")
    _, net = load_exported(None, str(tmp_path / "nameless.keras"))
    assert net.class_names is None
    assert _logits(net, PIXELS).shape == (3, 6)
    assert not list(own.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UserError, match="gone"):
        load_exported(None, str(tmp_path / "nameless.keras"))


def test_a_net_that_is_no_export_is_sent_to_the_other_flag():
    with pytest.raises(UserError, match=r"is no SavedModel .*training\.predict takes those as --net too"):
        load_exported("PreResNet20:cifar10", None)


def test_what_cannot_be_exported_is_refused_in_a_line(tmp_path):
    export_saved_model(small_net(), tmp_path / "net", Preprocessing((90,) * 3, (30,) * 3), NAMES)
    without = tmp_path / "without.keras"
    small_net().save(without)
    images = keras.Input((8, 8, 3))
    keras.Model(images, keras.layers.Softmax()(small_net()(images))).save(tmp_path / "softmax.keras")
    for name, words in {
        "net": "is an export: that of a SavedModel is given as --saved_model",
        "without.keras": "does not say how its images are preprocessed",
        "softmax.keras": "ends in a softmax",
    }.items():
        with pytest.raises(UserError, match=words):
            load_exported(None, str(tmp_path / name))
