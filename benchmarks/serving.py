"""How fast exported nets answer, in float32 on the same weights: python -m benchmarks.serving.

TensorFlow (the SavedModel's `predict`) beside ONNX Runtime, OpenVINO and LiteRT, each with its own defaults for
threads: images/s at batch 128, milliseconds at batch 1. `--intra_op_threads=1` shows TensorFlow as it answers single
images fastest. The contestants take turns, so that a drift of the machine's speed meets them alike, and ratios are
taken turn by turn. Run it on an idle machine. A runtime that is not installed has a row that says so.
"""

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.worker import measured_rate
from keras_preresnet import create_model
from keras_preresnet.export import export_saved_model
from keras_preresnet.export_formats import export_file
from keras_preresnet.preprocessing import CIFAR10
from keras_preresnet.runtimes import LiteRT, OnnxRuntime, OpenVino
from training.environment import describe_environment
from training.errors import run_program

FLAGS = flags.FLAGS

flags.DEFINE_list("models", ["PreResNet20", "PreResNet110", "PreResNet164"], "nets that take 32x32 images")
flags.DEFINE_integer("turns", 7, "turns of each contestant", lower_bound=1)
flags.DEFINE_float("seconds", 1.0, "seconds of a turn", lower_bound=0)
flags.DEFINE_integer("intra_op_threads", 0, "threads of a TensorFlow operation; 0: one for each core", lower_bound=0)

BATCH_SIZES = (128, 1)
OURS = "SavedModel"
FILES = {"ONNX Runtime": ("onnx", OnnxRuntime), "OpenVINO": ("onnx", OpenVino), "LiteRT": ("litert", LiteRT)}


def settled_net(name: str, images: np.ndarray) -> keras.Model:
    """Returns a net whose moving statistics are those of the images: else a deep one would answer with huge logits."""
    keras.utils.set_random_seed(0)
    model = create_model(name)
    inputs = CIFAR10(images)
    for _ in range(50):
        model(inputs, training=True)
    return model


def contestants(model: keras.Model, images: np.ndarray, folder: Path) -> dict[str, Callable | str]:
    """Returns by name what answers to uint8 images, or why it is not there."""
    names = [str(k) for k in range(10)]
    path = export_saved_model(model, folder / "saved_model", CIFAR10, names)
    found = {OURS: _signature(tf.saved_model.load(str(path)))}
    for name, (file_format, runtime) in FILES.items():
        place = folder / name
        try:
            path, _ = export_file(model, file_format, place, CIFAR10, names, images)
            found[name] = runtime(path)
        except ImportError as error:
            found[name] = str(error)
    return found


def _signature(module):
    """Holds on to the module, without which the signature would lose its variables."""
    return lambda images: module.signatures["predict"](images=tf.constant(images))["logits"].numpy()


def measure(answers: dict[str, Callable], images: np.ndarray, turns: int, seconds: float) -> dict[str, list[float]]:
    """Returns for each contestant the seconds of a call, turn by turn."""
    times = {name: [] for name in answers}
    for _ in range(turns):
        for name, answer in answers.items():
            times[name].append(1 / measured_rate(partial(answer, images), seconds))
    return times


def report(name: str, batch_size: int, times: dict[str, list[float]], absent: dict[str, str]) -> list[str]:
    """Returns the lines of a table; ratios are of speeds, ours to theirs."""
    unit = "images/s" if batch_size > 1 else "ms"
    lines = [f"{name}, batch {batch_size}: {unit}, median (lowest to highest); speed of '{OURS}' / this one's"]
    for contestant, seconds in times.items():
        values = [batch_size / value if batch_size > 1 else 1000 * value for value in seconds]
        ratios = [theirs / ours for ours, theirs in zip(times[OURS], seconds, strict=True)]
        lines.append(f"  {contestant:22} {_spread(values):34} {_spread(ratios)}")
    return lines + [f"  {contestant:22} not measured: {reason}" for contestant, reason in absent.items()]


def _spread(values):
    digits = 0 if min(values) >= 100 else 2
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    """Prints the figures."""
    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.intra_op_threads)
    print(", ".join(f"{key} {value}" for key, value in describe_environment().items()))
    images = np.random.default_rng(0).integers(0, 256, (max(BATCH_SIZES), 32, 32, 3), dtype=np.uint8)
    for name in FLAGS.models:
        with tempfile.TemporaryDirectory() as place:
            found = contestants(settled_net(name, images), images, Path(place))
            answers = {key: value for key, value in found.items() if callable(value)}
            absent = {key: value for key, value in found.items() if not callable(value)}
            for batch_size in BATCH_SIZES:
                times = measure(answers, images[:batch_size], FLAGS.turns, FLAGS.seconds)
                print("\n".join(report(name, batch_size, times, absent)), flush=True)


if __name__ == "__main__":
    run_program(main)
