"""Exported files under the runtimes that serve them: uint8 images in, float32 logits out."""

import importlib
import os
from pathlib import Path

import numpy as np

EXTRA = "pip install -e '.[export]' in the clone of keras_preresnet"


def require_package(name: str):
    """Returns the module of this name; raises ImportError, saying how to install it, if it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"the package of {name.split('.')[0]} is needed: {EXTRA}") from error


class OnnxRuntime:
    """An ONNX file under ONNX Runtime, on the CPU.

    Args:
        path: Of a file that `keras_preresnet.export_formats` has written.

    Raises:
        ImportError: if the runtime is not installed.
    """

    def __init__(self, path: str | Path):
        runtime = require_package("onnxruntime")
        self._session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.image_shape = _sides(self._session.get_inputs()[0].shape[1:])
        self.classes = self._session.get_outputs()[0].shape[-1]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 logits `(batch, classes)` for uint8 images `(batch, height, width, channels)`."""
        return self._session.run(["logits"], {"images": np.asarray(images)})[0]


class OpenVino:
    """An ONNX file, or a SavedModel, under OpenVINO on the CPU, in float32: by itself it would compute in bfloat16.

    Args:
        path: Of a file that `keras_preresnet.export_formats` has written.
        hint: What it is to be fast at: "LATENCY", or "THROUGHPUT" of large batches.

    Raises:
        ImportError: if the runtime is not installed.
    """

    def __init__(self, path: str | Path, hint: str = "LATENCY"):
        runtime = require_package("openvino")
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": hint}
        self._model = runtime.Core().compile_model(str(path), "CPU", settings)
        self.image_shape = _sides(
            side.get_length() if side.is_static else None for side in self._model.input("images").partial_shape[1:]
        )
        self._logits = self._model.output("logits")
        self.classes = self._logits.partial_shape[-1].get_length()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 logits `(batch, classes)` for uint8 images `(batch, height, width, channels)`."""
        return self._model({"images": np.asarray(images)})[self._logits]


class LiteRT:
    """A LiteRT file under LiteRT's own interpreter, on all cores.

    Args:
        path: Of a file that `keras_preresnet.export_formats` has written.

    Raises:
        ImportError: if the runtime is not installed.
    """

    def __init__(self, path: str | Path):
        runtime = require_package("ai_edge_litert.interpreter")
        self._interpreter = runtime.Interpreter(str(path), num_threads=os.cpu_count())
        self._run = self._interpreter.get_signature_runner("serving_default")
        self.image_shape = _sides(self._run.get_input_details()["images"]["shape_signature"][1:])
        self.classes = int(self._run.get_output_details()["logits"]["shape_signature"][-1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 logits `(batch, classes)` for uint8 images `(batch, height, width, channels)`."""
        return self._run(images=np.asarray(images))["logits"]


def _sides(sides):
    """A side that is free is None here, a name or -1 there."""
    return tuple(int(side) if not isinstance(side, str | None) and side >= 0 else None for side in sides)
