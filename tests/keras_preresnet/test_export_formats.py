"""ONNX and LiteRT files under their own runtimes."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_preresnet import ResidualNetwork, export_formats
from keras_preresnet.export_formats import FORMATS, Agreement, Disagreement, compare, export_file
from keras_preresnet.preprocessing import Preprocessing
from keras_preresnet.runtimes import OpenVino, require_package

PREPROCESSING = Preprocessing((100.0, 110.0, 120.0), (50.0, 60.0, 70.0))
NAMES = ("cat", "dog", "émeu")
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
IMAGES[np.arange(30), ..., np.arange(30) % 3] //= 8  # So that there is something to learn.


def _require(name):
    """Skips the test, with its reason, where the runtime of a format is not installed."""
    try:
        FORMATS[name].require()
    except ImportError as error:
        pytest.skip(str(error))


def _net(**options):
    settings = {"units": (3, 2), "widths": (8, 16), "stem_width": 8, "classes": 3, "input_shape": (8, 8, 3)}
    return ResidualNetwork(**{**settings, **options})


@pytest.fixture(scope="module")
def net():
    """A small net that has learnt which channel is dark."""
    keras.utils.set_random_seed(2)
    model = _net()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, jit_compile=False)
    model.fit(np.asarray(PREPROCESSING(IMAGES)), np.arange(30) % 3, epochs=12, batch_size=10, verbose=0)
    return model


def _export(model, name, folder, images=IMAGES):
    return export_file(model, name, folder, PREPROCESSING, NAMES, images, images)


@pytest.mark.parametrize("temperature", [0, float("nan")])
def test_what_is_no_temperature_is_refused_before_anything_is_written(net, tmp_path, temperature):
    _require("litert")
    with pytest.raises(ValueError, match=f"temperature={temperature} is refused"):
        export_file(net, "litert", tmp_path / "out", PREPROCESSING, NAMES, IMAGES, temperature=temperature)
    assert not (tmp_path / "out").exists()


def _logits(model, images):
    return model(PREPROCESSING(images), training=False).numpy()


TOLERANCES = {"onnx": 1e-4, "litert": 1e-4, "litert_float16": 0.05, "litert_int8": 2.0}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_answers_like_its_net_to_batches_of_any_size(tmp_path, net, name):
    _require(name)
    path, agreements = _export(net, name, tmp_path)
    answer = next(iter(FORMATS[name].runtimes.values()))(path)
    assert (answer.image_shape, answer.classes) == ((8, 8, 3), 3)
    for count in (1, 30, 7):
        logits = answer(IMAGES[:count])
        assert (logits.dtype, logits.shape) == (np.float32, (count, 3))
        np.testing.assert_allclose(logits, _logits(net, IMAGES[:count]), atol=TOLERANCES[name])
    assert agreements[0].images == 30
    assert agreements[0].agreeing >= (30 if TOLERANCES[name] < 1 else 29)
    assert agreements[0].difference == pytest.approx(np.abs(answer(IMAGES) - _logits(net, IMAGES)).max(), abs=1e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_beside_a_file_lies_what_it_says_and_nothing_else_is_left(tmp_path, net, name):
    _require(name)
    path, agreements = _export(net, name, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {path.name, f"{path.name}.json"}
    facts = json.loads((tmp_path / f"{path.name}.json").read_text())
    assert facts["class_names"] == list(NAMES)
    assert facts["preprocessing"] == PREPROCESSING.to_dict()
    assert facts["agreement"][0]["agreeing"] == agreements[0].agreeing


@pytest.mark.parametrize(
    "options",
    [
        {"design": "original", "shortcut": "exclusive_gating"},
        {"branch": "bottleneck", "widths": (16, 32), "widening": "projection"},
        {"shortcut": "dropout", "design": "original"},
        {"input_shape": (8, 8, 1)},
        {"dtype": "mixed_bfloat16"},
    ],
)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_other_nets_in_float32(tmp_path, name, options):
    _require(name)
    model, grey = _net(**options), options.get("input_shape") == (8, 8, 1)
    images = IMAGES[..., :1] if grey else IMAGES
    preprocessing = Preprocessing((100.0,), (50.0,)) if grey else PREPROCESSING
    _, agreements = export_file(model, name, tmp_path, preprocessing, NAMES, images)
    assert agreements[0].difference < 1e-4


def test_a_net_for_images_of_any_size(tmp_path, net):
    _require("onnx")
    free = _net(input_shape=(None, None, 3))
    free.set_weights(net.get_weights())
    path, _ = _export(free, "onnx", tmp_path)
    answer = FORMATS["onnx"].runtimes["ONNX Runtime"](path)
    assert answer.image_shape == (None, None, 3)
    larger = np.tile(IMAGES[:2], (1, 2, 1, 1))
    np.testing.assert_allclose(answer(larger), _logits(free, larger), atol=1e-4)


def test_an_onnx_file_says_its_names_and_holds_its_classes(tmp_path, net):
    _require("onnx")
    onnx = require_package("onnx")
    path, _ = _export(net, "onnx", tmp_path)
    proto = onnx.load(path)
    assert [value.name for value in proto.graph.input] == ["images"]
    assert [value.name for value in proto.graph.output] == ["logits", "probabilities"]
    assert proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    properties = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    assert properties["class_names"] == list(NAMES)


def test_openvino_answers_like_the_net(tmp_path, net):
    _require("onnx")
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install -e '.[benchmark]'")
    path, agreements = _export(net, "onnx", tmp_path)
    assert [agreement.runtime for agreement in agreements] == ["ONNX Runtime", "OpenVINO"]
    answer = OpenVino(path)
    assert (answer.image_shape, answer.classes) == ((8, 8, 3), 3)
    np.testing.assert_allclose(answer(IMAGES), _logits(net, IMAGES), atol=1e-4)


@pytest.mark.parametrize("name", ["onnx", "litert_int8"])
def test_a_file_that_disagrees_is_not_left_behind(tmp_path, net, name, monkeypatch):
    """The logits of the net are given another sign, as if the converter had gone wrong."""
    _require(name)
    answers = export_formats._answers
    monkeypatch.setattr(export_formats, "_answers", lambda *arguments: -answers(*arguments))
    with pytest.raises(Disagreement, match=f"{name} does not answer as the net does, and was deleted: .* is refused"):
        _export(net, name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "difference", "agreeing", "words"),
    [
        ("onnx", 1e-3, 990, None),  # Ties to 2e-3.
        ("onnx", 1.1e-3, 1000, "more than 0.001 is refused"),
        ("litert", float("nan"), 1000, "logits that are not finite are refused"),
        ("litert_float16", 0.1, 990, None),
        ("litert_float16", 0.1, 989, "less than 99 % is refused"),
        ("litert_int8", 3.0, 950, None),
        ("litert_int8", 3.0, 949, "less than 95 % is refused"),
        ("litert_int8", float("inf"), 1000, "logits that are not finite are refused"),
    ],
)
def test_how_far_a_format_may_differ(name, difference, agreeing, words):
    assert FORMATS[name].refusal(Agreement("", 1000, difference, agreeing)) == words


def test_agreement_is_counted_over_all_batches():
    images = np.arange(250)[:, None]
    logits = np.stack([np.zeros(250), np.ones(250)], axis=1)

    def answer(batch):
        return np.where(batch < 240, [[0.0, 1.5]], [[1.0, 0.0]])

    assert compare(answer, logits, images, "x") == Agreement("x", 250, 1.0, 240)


def test_a_file_that_exists_stays_as_it_is(tmp_path, net):
    _require("onnx")
    (tmp_path / "model.onnx").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="exists; give another folder, or take it away"):
        _export(net, "onnx", tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == b"mine"


def test_what_is_missing_is_said(tmp_path, net, monkeypatch):
    with pytest.raises(ValueError, match="format 'pb' is unknown; allowed: onnx, litert, litert_float16, litert_int8"):
        _export(net, "pb", tmp_path)
    _require("litert_int8")
    with pytest.raises(ValueError, match="litert_int8 needs images"):
        export_file(net, "litert_int8", tmp_path, PREPROCESSING, NAMES, IMAGES)
    absent = replace(FORMATS["onnx"], packages=("no_such_package.part",))
    monkeypatch.setitem(FORMATS, "onnx", absent)
    with pytest.raises(ImportError, match=r"the package of no_such_package is needed: pip install -e '\.\[export\]'"):
        _export(net, "onnx", tmp_path)
    assert not list(tmp_path.iterdir())
