"""The Python blocks of docs/serving.md run as they stand; a stand-in takes the place of TensorFlow Serving."""

import re
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from image_files import encode

from keras_preresnet import ResidualNetwork
from keras_preresnet.export import export_saved_model
from keras_preresnet.export_formats import export_file
from keras_preresnet.preprocessing import CIFAR10

TEXT = (Path(__file__).parents[1] / "docs" / "serving.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
NAMES = ("cat", "dog", "émeu")
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


def _block(words):
    (found,) = [block for block in BLOCKS if words in block]
    return found


def _net():
    return ResidualNetwork(units=(1,), widths=(8,), stem_width=8, classes=3, input_shape=(32, 32, 3))


@pytest.mark.parametrize(
    ("package", "name"), [("onnxruntime", "onnx"), ("openvino", "onnx"), ("ai_edge_litert", "litert_int8")]
)
def test_the_runtimes(tmp_path, monkeypatch, package, name):
    for needed in (package, "onnxruntime", "tf2onnx", "onnx") if name == "onnx" else (package,):
        pytest.importorskip(needed, reason=f"{needed} is not installed: pip install -e '.[export]'")
    model = _net()
    monkeypatch.chdir(tmp_path)
    black = np.zeros((4, 32, 32, 3), np.uint8)
    export_file(model, name, tmp_path, CIFAR10, NAMES, black, np.concatenate([black, black + 255]))
    found = {}
    exec(_block("import openvino" if package == "openvino" else f" {package}"), found)
    expected = tf.nn.softmax(model(CIFAR10(black[:1])))
    np.testing.assert_allclose(found["probabilities"], expected, atol=0.05 if name == "litert_int8" else 1e-5)


def test_the_client(tmp_path, monkeypatch):
    grpc = pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving", reason="tensorflow-serving-api is not installed")
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    path = export_saved_model(_net(), tmp_path / "net", CIFAR10, NAMES)
    module = tf.saved_model.load(str(path))

    class StandIn(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802 - the service's own name.
            assert request.model_spec.name == "preresnet20"
            inputs = {name: tf.constant(tf.make_ndarray(value).tolist()) for name, value in request.inputs.items()}
            answers = module.signatures[request.model_spec.signature_name](**inputs)
            reply = predict_pb2.PredictResponse()
            for name in request.output_filter:
                reply.outputs[name].CopyFrom(tf.make_tensor_proto(answers[name].numpy()))
            return reply

    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(StandIn(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "cat.jpg").write_bytes(encode(IMAGES[0], "JPEG"))
        (tmp_path / "dog.png").write_bytes(b"no image")
        found = {}
        exec(_block("import grpc").replace("localhost:8500", f"localhost:{port}"), found)
    finally:
        server.stop(None)
    assert set(found["answers"]) == {"label", "probabilities", "valid", "error"}
    assert found["answers"]["valid"].tolist() == [True, False]
    assert found["answers"]["label"][0].decode() in NAMES
    assert found["answers"]["error"][1] == b"no JPEG, PNG, GIF or BMP"
