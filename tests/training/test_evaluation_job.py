"""The evaluation in one process, on small nets and images made here."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from evaluation_stand_in import (
    IMAGES,
    LABELS,
    NAMES,
    PREPROCESSING,
    RECORD,
    ArraySplit,
    run_job,
    save_run,
    small_net,
    stand_in_data,
)

from keras_preresnet import set_preprocessing
from keras_preresnet.export import export_saved_model
from keras_preresnet.preprocessing import Preprocessing
from training import evaluation_job
from training.answering import KerasNet, load_net
from training.errors import UserError
from training.evaluation_job import (
    EvaluationJob,
    answer_test_images,
    require_fit,
    run,
    test_batches,
    with_mirror_images,
)
from training.measures import measure_answers
from training.temperature import fit_temperature

test_batches.__test__ = False  # Its name is no test's.


@pytest.mark.parametrize("batch_size", [1, 4, 11, 50])
def test_every_image_counts_once_whatever_the_batch(batch_size):
    model = small_net(12)
    split = ArraySplit(IMAGES, LABELS)
    batches = test_batches(split, batch_size)
    answers, logits = answer_test_images(lambda images: model(PREPROCESSING(images)).numpy(), batches, len(batches))
    expected = measure_answers(model(PREPROCESSING(IMAGES)), LABELS)
    np.testing.assert_allclose(logits, model(PREPROCESSING(IMAGES)), rtol=1e-4, atol=1e-5)
    assert answers.index.tolist() == list(range(11))
    pd.testing.assert_frame_equal(answers.reset_index(drop=True), expected, rtol=1e-4)


def test_images_of_weight_0_are_not_counted():
    bad = (0, 4, 5, 6, 7)  # A whole batch among them.
    batches = test_batches(ArraySplit(IMAGES, LABELS, bad), 4)
    answers, logits = answer_test_images(lambda images: np.eye(6, dtype=np.float32)[[1] * len(images)], batches, 3)
    assert logits.shape == (6, 6)
    assert answers.index.tolist() == [1, 2, 3, 8, 9, 10]
    assert answers["label"].tolist() == [1, 2, 3, 2, 3, 4]
    assert (answers["rank"] == 0).tolist() == [True, False, False, False, False, False]


def test_padding_is_not_counted():
    split = ArraySplit(IMAGES, LABELS)
    rows = tf.data.Dataset.from_tensors((tf.constant([0, 1, -1], tf.int64), tf.zeros([3, 2])))
    answers, _ = answer_test_images(lambda images: np.eye(6)[[0, 0, 0]], split.dataset(rows), 1)
    assert answers["label"].tolist() == [0, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused_naming_the_image(value):
    batches = test_batches(ArraySplit(IMAGES, LABELS), 4)
    scores = iter(np.where(np.arange(12) == 9, value, 1).reshape(3, 4, 1))
    with pytest.raises(UserError, match="test image 9 are infinite or NaN"):
        answer_test_images(lambda images: next(scores)[: len(images)] * np.ones(6), batches, 3)


def test_if_no_image_can_be_decoded_there_is_no_result():
    batches = test_batches(ArraySplit(IMAGES, LABELS, range(11)), 4)
    with pytest.raises(UserError, match="no test image could be decoded"):
        answer_test_images(lambda images: np.zeros((len(images), 6)), batches, 3)


def test_a_mirror_image_is_the_image_from_right_to_left():
    """A net that answers with the pixels of the first row, by hand: 1, 2, 3 and 3, 2, 1 have the mean 2, 2, 2."""
    images = tf.constant(np.array([[[1, 2, 3], [7, 8, 9]], [[1, 2, 6], [0, 0, 0]]], np.float32)[..., None])
    answer = with_mirror_images(lambda images: images.numpy()[:, 0, :, 0])
    np.testing.assert_array_equal(answer(images), [[2, 2, 2], [3.5, 2, 3.5]])


def test_mirror_images_in_a_job(monkeypatch, tmp_path, capsys):
    model = small_net()
    folder = save_run(model, tmp_path / "run", RECORD)
    images = IMAGES[:, :8, :8]
    facts, _ = run_job(monkeypatch, tmp_path, folder, ArraySplit(images, LABELS), test_time_flip=True)
    preprocessing = Preprocessing((90.0,) * 3, (30.0,) * 3)
    logits = (model(preprocessing(images)).numpy() + model(preprocessing(images[:, :, ::-1])).numpy()) / 2
    assert facts["loss"] == pytest.approx(measure_answers(logits, LABELS)["loss"].mean(), rel=1e-5)
    assert (facts["test_time_flip"], facts["temperature_scaling"]) == (True, None)
    assert "Tiny on numbered, mean over mirror images: error " in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match="--test_time_flip and --temperature_scaling exclude each other"):
        run(EvaluationJob(str(folder), test_time_flip=True, temperature_scaling=True))


def test_temperature_scaling_in_a_job(monkeypatch, tmp_path, capsys):
    model = small_net()
    folder = save_run(model, tmp_path / "run", RECORD)
    images = IMAGES[:, :8, :8]
    facts, _ = run_job(monkeypatch, tmp_path, folder, ArraySplit(images, LABELS), temperature_scaling=True)
    logits = model(Preprocessing((90.0,) * 3, (30.0,) * 3)(images)).numpy()
    assert facts["loss"] == pytest.approx(measure_answers(logits, LABELS)["loss"].mean(), rel=1e-5)
    scaled = facts["temperature_scaling"]
    assert scaled.keys() == {"temperature", "loss", "expected_calibration_error"}
    assert scaled["temperature"] == pytest.approx(fit_temperature(logits, LABELS), rel=1e-3)
    assert (tmp_path / "out" / "reliability_scaled.png").stat().st_size > 10_000
    printed = " ".join(capsys.readouterr().out.split())
    assert f"at temperature {scaled['temperature']:.3f}" in printed
    assert f": loss {scaled['loss']:.4f}, expected calibration error" in printed


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_run_is_tested_in_float32_with_its_own_preprocessing_and_settings(monkeypatch, tmp_path, dtype):
    model = small_net(dtype=dtype)
    folder = save_run(model, tmp_path / "run", RECORD)
    split = ArraySplit(IMAGES[:, :8, :8], LABELS)
    facts, loaded = run_job(monkeypatch, tmp_path, folder, split, data=None)
    wide = small_net()
    wide.set_weights(model.get_weights())
    expected = measure_answers(wide(Preprocessing((90.0,) * 3, (30.0,) * 3)(IMAGES[:, :8, :8])), LABELS)
    assert (facts["images"], facts["wrong"]) == (11, int((expected["rank"] > 0).sum()))
    assert facts["loss"] == pytest.approx(expected["loss"].mean(), rel=1e-5)
    assert (facts["net"], facts["data"], facts["test_split"]) == ("Tiny", "numbered", "test[:9]")
    assert loaded == {"test_split": "test[:9]", "seed": 5, "image_size": 8}


def test_flags_come_before_what_the_run_had(monkeypatch, tmp_path):
    folder = save_run(small_net(), tmp_path / "run", RECORD)
    _, loaded = run_job(monkeypatch, tmp_path, folder, ArraySplit(IMAGES[:, :8, :8], LABELS), test_split="train[:3]")
    assert loaded == {"test_split": "train[:3]", "seed": 5, "image_size": 8}


def test_other_data_than_those_of_the_run_come_with_their_own_splits_in_the_size_of_the_net(monkeypatch, tmp_path):
    folder = save_run(small_net(), tmp_path / "run", RECORD)
    _, loaded = run_job(monkeypatch, tmp_path, folder, ArraySplit(IMAGES[:, :8, :8], LABELS), data="others")
    assert loaded == {"seed": 5, "image_size": 8}  # The seed too: others may be the same images by another name.


@pytest.mark.parametrize("path", ["./numbered", "some/../numbered", "numbered:1.0.0"])
def test_the_same_data_by_another_path_keeps_the_splits_of_the_run(monkeypatch, tmp_path, path):
    (tmp_path / "some").mkdir()
    (tmp_path / "numbered").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = save_run(small_net(), tmp_path / "run", RECORD)
    _, loaded = run_job(monkeypatch, tmp_path, folder, ArraySplit(IMAGES[:, :8, :8], LABELS), data=path)
    assert (loaded["test_split"], loaded["seed"]) == ("test[:9]", 5)


@pytest.mark.parametrize(("source", "activation"), [("saved_model", None), ("keras", None), ("keras", "softmax")])
def test_all_sources_say_the_same(monkeypatch, tmp_path, source, activation):
    """A softmax at the end of a `.keras` file is seen."""
    model = small_net()
    split = ArraySplit(IMAGES[:, :8, :8], LABELS)
    expected = measure_answers(model(PREPROCESSING(split.images)), LABELS)
    if source == "saved_model":
        path = tmp_path / "net"
        export_saved_model(model, path, PREPROCESSING, NAMES)
    else:
        copy = small_net(classifier_activation=activation)
        copy.set_weights(model.get_weights())
        path = save_run(copy, tmp_path / "net") / "model.keras"
    facts, _ = run_job(monkeypatch, tmp_path, path, split)
    assert facts["wrong"] == int((expected["rank"] > 0).sum())
    assert facts["loss"] == pytest.approx(expected["loss"].mean(), rel=1e-4)


@pytest.mark.parametrize("data", ["digits", "some/set.npz"])
def test_arrays_have_one_size(monkeypatch, tmp_path, data):
    small_net().save(tmp_path / "net.keras")
    _, loaded = run_job(monkeypatch, tmp_path, tmp_path / "net.keras", ArraySplit(IMAGES[:, :8, :8], LABELS), data=data)
    assert loaded == {}


def test_without_a_run_the_data_must_be_named(tmp_path):
    small_net().save(tmp_path / "net.keras")
    with pytest.raises(UserError, match=r"--data is needed: .*net\.keras does not say what it was trained on"):
        run(EvaluationJob(str(tmp_path / "net.keras")))


def test_a_folder_that_cannot_be_written_to_is_refused(monkeypatch, tmp_path):
    folder = save_run(small_net(), tmp_path / "run", RECORD)
    split = ArraySplit(IMAGES[:, :8, :8], LABELS)
    with pytest.raises(UserError, match="--output_dir=/dev/null/out cannot be written to"):
        run_job(monkeypatch, tmp_path, folder, split, output_dir="/dev/null/out")


def test_the_folder_is_that_of_the_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = save_run(small_net(), tmp_path / "run", RECORD)
    assert evaluation_job.default_folder("run") == evaluation_job.default_folder("run/model.keras")
    assert evaluation_job.default_folder(str(folder)) == folder / "evaluation"
    assert evaluation_job.default_folder("run/best.keras") == Path("run/evaluation_best")
    flipped = partial(evaluation_job.default_folder, test_time_flip=True)
    assert [flipped("run"), flipped("run/best.keras")] == [
        Path("run/evaluation_flip"),
        Path("run/evaluation_best_flip"),
    ]
    assert flipped("PreResNet20:cifar10") == Path("evaluation/preresnet20_cifar10_flip")
    names = ("a/model.onnx", "b/Model.onnx", "b/model.tflite", "saved_models/demo/1", "saved_models/demo")
    for name in names:
        Path(name).mkdir(parents=True, exist_ok=True)
    folders = [str(evaluation_job.default_folder(name)) for name in (*names, "PreResNet20:cifar10")]
    expected = ["a_model.onnx", "b_model.onnx", "b_model.tflite", "demo_1", "saved_models_demo", "preresnet20_cifar10"]
    assert folders == [f"evaluation/{name}" for name in expected]


@pytest.mark.parametrize(
    ("data", "unlike"),
    [
        ("digits", {"test_fraction": 0.2}),
        ("set.npz", {"max_bad_images": 3}),
        ("set.npz", {"augmentation": "inception"}),
    ],
)
def test_what_a_run_on_a_folder_had_is_no_flag_of_another_set(monkeypatch, data, unlike):
    """What was not given is not refused."""
    monkeypatch.setattr(evaluation_job, "load_data", lambda name, data_dir, **settings: settings)
    net = KerasNet("net", small_net(), {"settings": {"data": "photographs", **unlike}})
    assert not evaluation_job.load_test_data(EvaluationJob("net", data=data), net)[0].keys() & unlike.keys()
    given = EvaluationJob("net", data=data, **unlike)
    assert evaluation_job.load_test_data(given, net)[0].items() >= unlike.items()


def test_the_preprocessing_of_the_data_is_not_asked_for_if_the_run_says_it(tmp_path):
    """It may be a pass over all training images."""
    net = load_net(str(save_run(small_net(), tmp_path / "run", RECORD)))
    net.answering(lambda: pytest.fail("asked for"))


@pytest.mark.parametrize("side", [8, 10])
def test_a_file_without_a_run_has_the_preprocessing_and_the_class_names_that_it_carries(tmp_path, side):
    model = small_net()
    set_preprocessing(model, Preprocessing((90.0,) * 3, (30.0,) * 3), NAMES)
    model.save(tmp_path / "net.keras")
    net = load_net(str(tmp_path / "net.keras")).for_side(side)
    assert net.preprocessing(lambda: pytest.fail("asked for")) == Preprocessing((90.0,) * 3, (30.0,) * 3)
    assert net.class_names == NAMES


@pytest.mark.parametrize(
    ("shape", "names", "words"),
    [
        ((8, 8, 3), tuple("abcde"), "tells 6 classes apart, numbered has 5: no match"),
        ((8, 8, 1), NAMES, "takes images of 8x8x3, those of numbered are 8x8x1: no match"),
        ((9, 8, 3), NAMES, "takes images of 8x8x3, those of numbered are 9x8x3: no match"),
        ((8, 8, 3), tuple("abdcef"), "the classes of Tiny are not those of numbered: 'c' there is 'd' here"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, shape, names, words):
    net = load_net(str(save_run(small_net(), tmp_path / "run", RECORD)))
    data = stand_in_data(ArraySplit(np.zeros((2, *shape), np.uint8), LABELS[:2]), names)
    with pytest.raises(UserError, match=words):
        require_fit(net, data, shape)


def test_bad_images_are_refused_beyond_the_limit_and_said_within_it(monkeypatch, tmp_path, capsys):
    folder = save_run(small_net(), tmp_path / "run", RECORD)
    split = ArraySplit(IMAGES[:, :8, :8], LABELS, bad=(2, 7))
    with pytest.raises(UserError, match="2 images could not be decoded; give --max_bad_images=2"):
        run_job(monkeypatch, tmp_path, folder, split, limit=1)
    assert not (tmp_path / "out").exists()
    facts, loaded = run_job(monkeypatch, tmp_path, folder, split, limit=2, max_bad_images=2)
    assert (facts["images"], facts["undecodable"], loaded["max_bad_images"]) == (9, 2, 2)
    assert "2 images could not be decoded and are not counted" in capsys.readouterr().out


def test_float_images_are_rounded_for_a_saved_model(tmp_path):
    export_saved_model(small_net(), tmp_path / "net", PREPROCESSING, NAMES)
    answer = load_net(str(tmp_path / "net")).answering(None)
    images = IMAGES[:, :8, :8]
    near = images.astype(np.float32) + np.where(images == 0, -0.4, 0.4)
    np.testing.assert_array_equal(answer(tf.constant(near, tf.float32)), answer(tf.constant(images)))
