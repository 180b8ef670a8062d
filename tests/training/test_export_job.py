"""The export of a trained net, on the digits."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from programs import messages, run_program
from training_helpers import numbered_data

from keras_preresnet import ResidualNetwork
from training import export_job, job
from training.answering import load_net
from training.errors import UserError
from training.evaluation_job import EvaluationJob
from training.evaluation_job import run as evaluate
from training.export_job import ALL_FORMATS, ExportJob, sample


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A net that tells the digits apart, more or less."""
    folder = tmp_path_factory.mktemp("work")
    overrides = {"train_steps": 60, "batch_size": 64}
    places = {"run_dir": str(folder / "run"), "saved_model_dir": str(folder / "net")}
    job.run(job.Job(data="digits", model="preresnet20", recipe_overrides=overrides, **places))
    return folder / "run"


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    for package in ("tf2onnx", "onnx", "onnxruntime", "ai_edge_litert", "tensorflow_serving"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[export]'")
    folder = tmp_path_factory.mktemp("exports")
    formats = ("saved_model", "onnx", "litert", "litert_float16")
    export_job.run(ExportJob(str(run), str(folder), formats, test_images=100))
    return folder


def test_the_files_answer_like_the_run_on_images_of_its_test_set(run, exported):
    names = {path.name for path in exported.iterdir()}
    files = {"model.onnx", "model.tflite", "model_float16.tflite"}
    assert names == {"saved_model", *files, *(f"{file}.json" for file in files)}
    facts = json.loads((exported / "model.onnx.json").read_text())
    assert facts["class_names"] == [str(digit) for digit in range(10)]
    assert facts["preprocessing"] == json.loads((run / "run.json").read_text())["data"]["preprocessing"]
    assert facts["agreement"][0]["images"] == 100
    assert facts["agreement"][0]["difference"] < 1e-3


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite", "saved_model"])
def test_they_can_be_evaluated(run, exported, tmp_path, name):
    evaluate(EvaluationJob(str(exported / name), data="digits", output_dir=str(tmp_path)))
    facts = json.loads((tmp_path / "evaluation.json").read_text())
    result = json.loads((run / "run.json").read_text())["result"]
    assert (facts["images"], facts["wrong"]) == (360, result["wrong"])
    assert facts["loaded_from"] == ("SavedModel" if name == "saved_model" else "file")


def test_the_warm_up_requests_are_answered(exported):
    """As TensorFlow Serving would: it reads the records and calls the signature that each names."""
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    (version,) = (exported / "saved_model").iterdir()
    module = tf.saved_model.load(str(version))
    called = []
    for record in tf.data.TFRecordDataset(str(version / "assets.extra" / "tf_serving_warmup_requests")):
        request = PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        if "image_bytes" in inputs:
            inputs = {"image_bytes": tf.constant(inputs["image_bytes"].tolist())}
        answers = module.signatures[request.model_spec.signature_name](**inputs)
        assert bool(tf.reduce_all(answers.get("valid", True)))
        called.append((request.model_spec.signature_name, len(next(iter(answers.values())))))
    assert called == [(name, size) for name in ("predict", "predict_bytes", "embed") for size in (1, 8)]


def test_the_files_of_a_temperature_are_less_sure_and_say_the_same(run, exported, tmp_path):
    export_job.run(ExportJob(str(run), str(tmp_path), ("onnx", "litert"), test_images=50, temperature=2.0))
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8))
    for name in ("model.onnx", "model.tflite"):
        plain, scaled = (load_net(str(folder / name)).answering(None)(images) for folder in (exported, tmp_path))
        np.testing.assert_allclose(2 * scaled, plain, rtol=1e-3, atol=1e-3)
        facts = [json.loads((folder / f"{name}.json").read_text())["temperature"] for folder in (exported, tmp_path)]
        assert facts == [1.0, 2.0]


@pytest.mark.slow
def test_int8_in_the_program_as_a_user_starts_it(run, exported, tmp_path):
    process = run_program(
        "export",
        f"--net={run}",
        "--formats=litert_int8",
        "--test_images=360",
        "--output_dir=out",
        cwd=tmp_path,
        fresh=True,
    )
    assert process.returncode == 0, process.stderr
    assert "litert_int8: out/model_int8.tflite, " in process.stdout
    assert " of 360 images" in process.stdout
    again = run_program("export", f"--net={run}", "--formats=onnx,litert_int8", "--output_dir=out", cwd=tmp_path)
    assert again.returncode == 1
    (line,) = messages(again)
    assert line == "error: out/model_int8.tflite exists; give another --output_dir, or take the file away."
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model_int8.tflite", "model_int8.tflite.json"}


def test_a_disagreement_is_one_line_and_leaves_the_other_formats_alone(run, exported, tmp_path, monkeypatch):
    from keras_preresnet import export_formats

    strict = dataclasses.replace(export_formats.FORMATS["onnx"], largest_difference=0.0)
    monkeypatch.setitem(export_formats.FORMATS, "onnx", strict)
    with pytest.raises(UserError, match=r"onnx does not answer as the net does, and was deleted: .*; more than 0 is"):
        export_job.run(ExportJob(str(run), str(tmp_path), ("onnx", "litert"), test_images=50))
    assert {path.name for path in tmp_path.iterdir()} == {"model.tflite", "model.tflite.json"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"formats": ("onnx", "coreml")}, r"--formats=onnx,coreml is refused; allowed: saved_model, onnx, litert, "),
        ({"formats": ()}, "--formats= is refused; allowed"),
        ({"temperature": 0.0}, r"temperature=0\.0 is refused: a number above 0 is needed"),
        ({"net": "nowhere"}, r"--net=nowhere does not exist; a run folder, a \.keras file, or packaged weights as "),
        ({"data": "./nowhere"}, "--data=./nowhere is refused"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(run, tmp_path, settings, words):
    with pytest.raises(UserError, match=words) as caught:
        export_job.run(ExportJob(**{"net": str(run), "output_dir": str(tmp_path / "out"), "warmup": False, **settings}))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(export_job, "WARMUP_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match=r"the package of no_such_package is needed: pip install"):
        export_job.run(ExportJob("nowhere", str(tmp_path / "out")))


def test_exports_and_nets_with_a_softmax_are_refused(exported, tmp_path):
    with pytest.raises(UserError, match=r"is an export already; a run folder or a .keras file of a net with logits"):
        export_job.run(ExportJob(str(exported / "model.onnx"), str(tmp_path / "out")))
    options = {"units": (1,), "widths": (8,), "stem_width": 8, "classes": 10, "input_shape": (8, 8, 1)}
    ResidualNetwork(**options, classifier_activation="softmax").save(tmp_path / "net.keras")
    with pytest.raises(UserError, match="ends in a softmax; a run folder"):
        export_job.run(ExportJob(str(tmp_path / "net.keras"), str(tmp_path / "out"), warmup=False))


def test_a_damaged_file_is_one_line(exported, tmp_path):
    for name in ("model.onnx", "model.tflite"):
        (tmp_path / name).write_bytes((exported / name).read_bytes()[:999])
        with pytest.raises(UserError, match=f"{name} is damaged, or was not written by training.export"):
            load_net(str(tmp_path / name))


def test_a_sample_is_spread_over_all_images():
    images = numbered_data(count=10, test_count=250).test
    np.testing.assert_array_equal(sample(images, 3), images.images[[0, 124, 249]])
    np.testing.assert_array_equal(sample(images, 999), images.images)
    assert len(sample(images, 201)) == 201


def test_every_format_is_one_of_the_flag():
    assert ALL_FORMATS == ("saved_model", "onnx", "litert", "litert_float16", "litert_int8")
