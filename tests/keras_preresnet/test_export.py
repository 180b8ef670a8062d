import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from library_helpers import thinned
from seeds import draw_anew

from keras_preresnet import ResidualNetwork, export
from keras_preresnet.export import export_saved_model, float32_copy, with_temperature
from keras_preresnet.export_formats import export_file
from keras_preresnet.preprocessing import Preprocessing

PREPROCESSING = Preprocessing((100.0, 110.0, 120.0), (50.0, 60.0, 70.0))
NAMES = ("cat", "dog", "émeu")
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)

# A process that has TensorFlow only: any import of Keras or of this package fails there.
SERVE = """
import sys
sys.modules["keras"] = sys.modules["keras_preresnet"] = None
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
images = np.load(sys.argv[2])
answers = model.signatures["serving_default"](images=tf.constant(images))
one = model.signatures["predict"](images=tf.constant(images[:1]))
assert not any(name.startswith(("keras.", "keras_preresnet.")) for name in sys.modules)
texts = {name: np.array(value.numpy().tolist()) for name, value in answers.items()}
np.savez(sys.argv[3], one=one["probabilities"], **texts)
"""


def trained_net(design="full_preactivation", shortcut="identity", dtype="float32", fitted=True, **options):
    """A small net whose weights and statistics are no longer what they began as."""
    draw_anew(2)
    settings = {"units": (3, 2), "widths": (8, 16), "stem_width": 8, "classes": 3, "input_shape": (8, 8, 3)}
    model = ResidualNetwork(design=design, shortcut=shortcut, dtype=dtype, **{**settings, **options})
    if not fitted:
        return model
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.fit(np.asarray(PREPROCESSING(IMAGES)), np.arange(5) % 3, epochs=3, verbose=0)
    return model


def _serve(path, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    command = [sys.executable, "-c", SERVE, str(path), str(tmp_path / "images.npy"), str(tmp_path / "answers.npz")]
    subprocess.run(command, check=True, cwd=tmp_path)
    return np.load(tmp_path / "answers.npz")


@pytest.mark.parametrize(("design", "shortcut"), [("full_preactivation", "identity"), ("original", "exclusive_gating")])
def test_the_saved_model_answers_like_the_net_where_only_tensorflow_is(tmp_path, design, shortcut):
    model = trained_net(design, shortcut)
    logits = model(PREPROCESSING(IMAGES), training=False).numpy()
    probabilities = keras.ops.softmax(logits)
    answers = _serve(export_saved_model(model, tmp_path / "net", PREPROCESSING, NAMES), tmp_path)
    assert np.isfinite(answers["probabilities"]).all()
    np.testing.assert_allclose(answers["probabilities"], probabilities, atol=1e-5)
    np.testing.assert_allclose(answers["one"], probabilities[:1], atol=1e-5)
    np.testing.assert_allclose(answers["logits"], logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(answers["class_id"], logits.argmax(1))
    assert [label.decode() for label in answers["label"]] == [NAMES[k] for k in logits.argmax(1)]


def test_versions_count_up_and_nothing_else_is_left(tmp_path):
    model = trained_net()
    first = export_saved_model(model, tmp_path / "net", PREPROCESSING, NAMES)
    second = export_saved_model(model, tmp_path / "net", PREPROCESSING, NAMES)
    assert (first.name, second.name) == ("1", "2")
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["1", "2"]
    facts = json.loads((first / "assets.extra" / "model.json").read_text())
    assert facts["class_names"] == list(NAMES)
    assert Preprocessing(**facts["preprocessing"]) == Preprocessing(**PREPROCESSING.to_dict())


def test_an_export_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    def broken(endpoints, path, *_):
        path.mkdir()
        raise OSError("full")

    monkeypatch.setattr("keras_preresnet.export._write", broken)
    with pytest.raises(OSError, match="full"):
        export_saved_model(trained_net(), tmp_path / "net", PREPROCESSING, NAMES)
    assert list((tmp_path / "net").iterdir()) == []


def test_names_that_do_not_fit_the_classes_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="2 class names for a net of 3 classes"):
        export_saved_model(trained_net(), tmp_path / "net", PREPROCESSING, ("cat", "dog"))
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(("unroll", "dtype"), thinned([None, False, True], ["mixed_bfloat16", "mixed_float16"]))
def test_a_float32_copy_has_the_weights_and_computes_in_float32(dtype, unroll):
    model = trained_net(dtype=dtype)
    copy = float32_copy(model, unroll)
    reference = trained_net()
    reference.set_weights(model.get_weights())
    inputs = PREPROCESSING(IMAGES)
    np.testing.assert_allclose(copy(inputs), reference(inputs), rtol=1e-5, atol=1e-5)
    assert np.any(np.asarray(copy(inputs)) != np.asarray(model(inputs)))
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    assert copy.get_layer("stage1_units").unroll is unroll


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("temperature", [0.5, 1, 1.7])
def test_a_temperature_divides_the_logits_and_leaves_the_net_alone(temperature, dtype):
    model = trained_net(dtype=dtype)
    before = model.get_weights()
    scaled = with_temperature(model, temperature)
    inputs = PREPROCESSING(IMAGES)
    np.testing.assert_allclose(scaled(inputs), float32_copy(model)(inputs) / temperature, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_temperature_is_inside_the_saved_model_which_says_it(tmp_path):
    model = trained_net()
    path = export_saved_model(model, tmp_path / "net", PREPROCESSING, NAMES, temperature=2.5)
    logits = model(PREPROCESSING(IMAGES), training=False) / 2.5
    answers = _serve(path, tmp_path)
    np.testing.assert_allclose(answers["logits"], logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(answers["probabilities"], keras.ops.softmax(logits), atol=1e-5)
    assert json.loads((path / "assets.extra" / "model.json").read_text())["temperature"] == 2.5


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_what_is_no_temperature_is_refused_before_anything_is_written(tmp_path, temperature):
    with pytest.raises(ValueError, match=f"temperature={temperature} is refused: a number above 0 is needed"):
        export_saved_model(trained_net(), tmp_path / "net", PREPROCESSING, NAMES, temperature=temperature)
    assert not (tmp_path / "net").exists()


def test_a_temperature_needs_a_linear_classifier():
    options = {"units": (1,), "widths": (8,), "stem_width": 8, "input_shape": (8, 8, 3)}
    softmax = ResidualNetwork(**options, classes=3, classifier_activation="softmax")
    images = keras.Input((8, 8, 3))
    pooled = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images), name="pooled")
    for model in (softmax, pooled):
        with pytest.raises(ValueError, match=f"{model.name} ends in .*; a Dense layer without activation is needed"):
            with_temperature(model, 2.0)
        np.testing.assert_array_equal(with_temperature(model, 1.0)(IMAGES), model(IMAGES))


@pytest.mark.parametrize(("channels", "takes_files"), [(1, True), (2, False), (3, True), (4, False)])
def test_images_of_other_than_one_or_three_channels_are_served_as_pixels_alone(tmp_path, channels, takes_files):
    model = trained_net(input_shape=(8, 8, channels), fitted=False)
    path = export_saved_model(model, tmp_path, Preprocessing((100.0,) * channels, (50.0,) * channels), NAMES)
    signatures = tf.saved_model.load(path).signatures
    assert ("predict_bytes" in signatures) == takes_files
    assert signatures["predict"](images=tf.zeros((2, 8, 8, channels), tf.uint8))["logits"].shape == (2, 3)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_net_that_ends_in_an_activation_is_refused_before_anything_is_written(tmp_path, activation):
    model = trained_net(classifier_activation=activation, fitted=False)
    with pytest.raises(ValueError, match=f"ends in {activation}: an export is made of a net that answers with logits"):
        export_saved_model(model, tmp_path / "net", PREPROCESSING, NAMES)
    with pytest.raises(ValueError, match=f"ends in {activation}: an export is made of a net that answers with logits"):
        export_file(model, "onnx", tmp_path / "net", PREPROCESSING, NAMES, IMAGES)
    assert not (tmp_path / "net").exists()


def test_exports_to_one_folder_at_one_time_get_numbers_of_their_own(tmp_path, monkeypatch):
    """The second begins and ends while the first is being written."""
    write, second = export._write, []

    def slow(endpoints, path, *rest):
        monkeypatch.setattr("keras_preresnet.export._write", write)
        second.append(export_saved_model(model, tmp_path, PREPROCESSING, NAMES))
        write(endpoints, path, *rest)

    model = trained_net(fitted=False)
    monkeypatch.setattr("keras_preresnet.export._write", slow)
    first = export_saved_model(model, tmp_path, PREPROCESSING, NAMES)
    assert (second[0].name, first.name) == ("1", "2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
    for path in (first, second[0]):
        assert (path / "assets.extra" / "model.json").exists()
        assert path.stat().st_mode & 0o777 == tmp_path.joinpath("1/variables").stat().st_mode & 0o777


def test_a_number_that_is_taken_in_the_last_moment_is_passed_over(tmp_path, monkeypatch):
    rename = Path.rename

    def late(path, target):
        if not target.exists() and target.name == "1":
            (target / "of another process").mkdir(parents=True)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    assert export_saved_model(trained_net(fitted=False), tmp_path, PREPROCESSING, NAMES).name == "2"
    assert list((tmp_path / "1").iterdir()) == [tmp_path / "1" / "of another process"]
