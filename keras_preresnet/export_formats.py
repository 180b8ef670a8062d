"""Nets as files for other runtimes than TensorFlow: ONNX, and LiteRT in float32, float16 and 8-bit integers.

Each takes `images`, uint8 of 0 to 255 `(batch, height, width, channels)` of any batch size, and returns `logits` and
`probabilities`, float32 `(batch, classes)`; the preprocessing is inside. None gets its name before its answers have
been compared with those of the net.
"""

import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_preresnet.export import require_logits, with_temperature
from keras_preresnet.preprocessing import Preprocessing
from keras_preresnet.runtimes import LiteRT, OnnxRuntime, OpenVino, require_package

OPSET = 18
BATCH = 100  # Images at a time when answers are compared.


class Disagreement(ValueError):  # noqa: N818 - the word for it.
    """An exported file does not answer as its net does."""


@dataclass(frozen=True)
class Agreement:
    """How a file answers under a runtime beside its net.

    Args:
        runtime: For the user.
        images: How many were compared.
        difference: The largest between two logits of the same image and class.
        agreeing: How many images have the same likeliest class.
    """

    runtime: str
    images: int
    difference: float
    agreeing: int

    def __str__(self):
        return (
            f"{self.runtime}: largest logit difference {self.difference:.2g}, "
            f"same top-1 on {self.agreeing} of {self.images} images"
        )


@dataclass(frozen=True)
class FileFormat:
    """One row of `FORMATS`.

    Args:
        file_name: Of its files.
        packages: Modules that writing it needs.
        write: Makes a file of a float32 net.
        runtimes: By name, to compare its answers; the first is needed, others are asked where they are installed.
        largest_difference: Of logits, that is allowed. Where it is small, two top-1 differ only if the net itself
            holds both classes for equally likely, to twice as much.
        least_agreement: Share of images that must have the same top-1.
    """

    file_name: str
    packages: tuple[str, ...]
    write: Callable
    runtimes: dict[str, Callable]
    largest_difference: float
    least_agreement: float

    def require(self) -> None:
        """Raises ImportError, saying how to install it, unless all that is needed is there."""
        for package in self.packages:
            require_package(package)

    def refusal(self, agreement: Agreement) -> str | None:
        """Returns what is wrong with an agreement, or None."""
        if not math.isfinite(agreement.difference):
            return "logits that are not finite are refused"
        if agreement.difference > self.largest_difference:
            return f"more than {self.largest_difference:g} is refused"
        if agreement.agreeing < self.least_agreement * agreement.images:
            return f"less than {100 * self.least_agreement:g} % is refused"
        return None


def export_file(
    model: keras.Model,
    name: str,
    directory: str | Path,
    preprocessing: Preprocessing,
    class_names: Sequence[str],
    images: np.ndarray,
    calibration_images: np.ndarray | None = None,
    temperature: float = 1.0,
) -> tuple[Path, list[Agreement]]:
    """Writes a net in one of `FORMATS`, and beside it a `.json` with class names, preprocessing and agreement.

    Args:
        model: A net whose output is logits; it is exported in float32.
        name: Key of `FORMATS`.
        directory: Made if it is missing. The file appears at once and whole, by renaming.
        preprocessing: Applied to the images inside the file.
        class_names: One for each class, in the order of the logits.
        images: uint8, to compare the answers of the file and of the net; real ones say more.
        calibration_images: uint8 *training* images, of which "litert_int8" takes the ranges of its activations.
        temperature: By which the logits are divided, see `keras_preresnet.export.with_temperature`.

    Returns:
        The path of the file, and how it agrees under each runtime that is installed.

    Raises:
        Disagreement: if it does not agree; the file is deleted.
        FileExistsError: if there is a file of that name.
        ImportError: if a package is missing.
        ValueError: for an unknown format, a net that ends in an activation, images that are missing, or a temperature
            that is refused.
    """
    if name not in FORMATS:
        raise ValueError(f"format {name!r} is unknown; allowed: {', '.join(FORMATS)}.")
    file_format, path = FORMATS[name], Path(directory) / FORMATS[name].file_name
    require_logits(model)
    _require_possible(name, path, images, calibration_images)
    copy = with_temperature(model, temperature, unroll=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    facts = {"model": model.name, "class_names": list(class_names)}
    facts |= {"preprocessing": preprocessing.to_dict(), "temperature": temperature}
    try:
        partial.write_bytes(file_format.write(copy, preprocessing, facts, calibration_images))
        agreements = _compare(file_format, partial, _answers(copy, preprocessing, images), images)
        _require_agreement(name, file_format, agreements)
        _write_facts(path, {**facts, "agreement": [asdict(agreement) for agreement in agreements]})
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    return path, agreements


def _require_possible(name, path, images, calibration_images):
    FORMATS[name].require()
    if path.exists():
        raise FileExistsError(f"{path} exists; give another folder, or take it away.")
    if not len(images) or (name == "litert_int8" and (calibration_images is None or not len(calibration_images))):
        raise ValueError(f"{name} needs images: to compare answers, and training images for 8-bit ranges.")


def compare(answer: Callable, logits: np.ndarray, images: np.ndarray, runtime: str = "") -> Agreement:
    """Returns how `answer(images)` agrees with these logits of the net."""
    parts = [answer(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    answers = np.concatenate(parts)
    agreeing = int((answers.argmax(1) == logits.argmax(1)).sum())
    return Agreement(runtime, len(images), float(np.abs(answers - logits).max()), agreeing)


def _answers(model, preprocessing, images):
    parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return np.concatenate([model(preprocessing(part), training=False) for part in parts])


def _compare(file_format, path, logits, images):
    agreements = []
    for runtime, load in file_format.runtimes.items():
        try:
            answer = load(path)
        except ImportError:
            if not agreements:
                raise
            continue
        agreements.append(compare(answer, logits, images, runtime))
    return agreements


def _require_agreement(name, file_format, agreements):
    for agreement in agreements:
        refusal = file_format.refusal(agreement)
        if refusal:
            raise Disagreement(f"{name} does not answer as the net does, and was deleted: {agreement}; {refusal}.")


def _write_facts(path, facts):
    target = path.with_name(f"{path.name}.json")
    partial = path.with_name(f".{target.name}.partial")
    partial.write_text(json.dumps(facts, indent=2) + "\n")
    os.replace(partial, target)


def _prediction(model, preprocessing, dtype):
    """The net as a TensorFlow function whose weights are constants: neither converter takes all forms of variables."""
    trainable = [v.numpy() for v in model.trainable_variables]
    others = [v.numpy() for v in model.non_trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, dtype, name="images")], autograph=False)
    def predict(images):
        weights = list(map(tf.constant, trainable)), list(map(tf.constant, others))
        logits, _ = model.stateless_call(*weights, preprocessing(images), training=False)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    return predict


def _onnx(model, preprocessing, facts, _):
    converter, onnx = require_package("tf2onnx"), require_package("onnx")
    predict = _prediction(model, preprocessing, tf.uint8)
    proto, _ = converter.convert.from_function(predict, predict.input_signature, opset=OPSET)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in facts.items()})
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def _litert(model, preprocessing, _, __):
    return _converted(_prediction(model, preprocessing, tf.uint8), lambda converter: None)


def _litert_float16(model, preprocessing, _, __):
    def settings(converter):
        """Weights in half the bytes."""
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return _converted(_prediction(model, preprocessing, tf.uint8), settings)


def _litert_int8(model, preprocessing, _, calibration_images):
    def settings(converter):
        """Integers throughout, their ranges taken from the calibration images."""
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            {"images": image[None].astype(np.float32)} for image in calibration_images
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8

    return _converted(_prediction(model, preprocessing, tf.float32), settings)


def _converted(predict, settings):
    """Through a SavedModel, which is what keeps the names of inputs and outputs."""
    module = tf.Module()
    module.predict = predict
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        tf.saved_model.save(module, folder, signatures={"serving_default": predict})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        settings(converter)
        # The converter calibrates with TensorFlow's own interpreter, which warns that it will go.
        warnings.filterwarnings("ignore", "[\\s\\S]*tf.lite.Interpreter is deprecated")
        return converter.convert()


_ONNX = ("tf2onnx", "onnx", "onnxruntime")
_LITERT = ("ai_edge_litert.interpreter",)
_UNDER_LITERT = {"LiteRT": LiteRT}
ANY = float("inf")

FORMATS = {
    "onnx": FileFormat(
        "model.onnx", _ONNX, _onnx, {"ONNX Runtime": OnnxRuntime, "OpenVINO": OpenVino}, 1e-3, least_agreement=0
    ),
    "litert": FileFormat("model.tflite", _LITERT, _litert, _UNDER_LITERT, 1e-3, least_agreement=0),
    "litert_float16": FileFormat(
        "model_float16.tflite", _LITERT, _litert_float16, _UNDER_LITERT, ANY, least_agreement=0.99
    ),
    "litert_int8": FileFormat("model_int8.tflite", _LITERT, _litert_int8, _UNDER_LITERT, ANY, least_agreement=0.95),
}
