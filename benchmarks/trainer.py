"""The input pipeline alone, and the whole trainer beside its bare training step: python -m benchmarks.trainer.

The whole trainer is what `training.train` runs: it shuffles, augments, steps, logs and saves checkpoints. The bare step
trains on one batch that is there already. They take turns, so that a drift of the machine's speed meets both alike.
Run it on an idle machine.
"""

import dataclasses
import statistics
import tempfile
import time
from contextlib import closing, redirect_stdout
from io import StringIO
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from keras_preresnet import create_model
from training.arrays import ArrayImages
from training.bad_images import BadImages
from training.batches import training_batches
from training.data import ImageData
from training.environment import describe_environment
from training.errors import run_program
from training.loop import Intervals, Training
from training.recipes import RECIPES
from training.runs import RunFolder
from training.step import TrainingStep

FLAGS = flags.FLAGS

flags.DEFINE_string("model", "PreResNet20", "net to train")
flags.DEFINE_enum("precision", "mixed_bfloat16", ["float32", "mixed_bfloat16", "mixed_float16"], "in which it trains")
flags.DEFINE_integer("turns", 5, "turns of each contestant", lower_bound=1)
flags.DEFINE_integer("steps", 200, "steps of a turn", lower_bound=100)


def random_data(count: int = 50_000) -> ImageData:
    """Returns random images of the size and number of CIFAR-10's."""
    draw = np.random.default_rng(0)

    def images(number):
        pixels = draw.integers(0, 256, (number, 32, 32, 3), dtype=np.uint8)
        return ArrayImages(pixels, draw.integers(0, 10, number))

    names = tuple(str(k) for k in range(10))
    return ImageData("random", "1", images(count), images(100), names, BadImages())


def pipeline_rate(data: ImageData, batches: int = 400) -> float:
    """Returns augmented images a second of the input pipeline alone."""
    recipe = dataclasses.replace(RECIPES["paper_cifar"], train_steps=batches + 20)
    stream = iter(training_batches(data, recipe, 0, 0))
    for _ in range(20):
        next(stream)
    began = time.perf_counter()
    for _ in range(batches):
        next(stream)
    return batches * recipe.batch_size / (time.perf_counter() - began)


def turn(data: ImageData, model: str, precision: str, steps: int) -> tuple[float, float, float]:
    """Returns images a second of the whole trainer, the share of its time spent waiting, and the bare step's rate."""
    recipe = dataclasses.replace(RECIPES["paper_cifar"], train_steps=steps)
    keras.utils.set_random_seed(0)
    step = TrainingStep(create_model(model, dtype=precision), recipe, precision)
    with tempfile.TemporaryDirectory() as place, redirect_stdout(StringIO()):
        folder = RunFolder(Path(place) / "run")
        with closing(folder):
            folder.open({"status": "running", "settings": {"model": model}, "data": {"sha256": ""}})
            training = Training(step, data, 0, folder, Intervals(steps, steps // 2))
            training.run()
        row = training.log.steps.rows.iloc[-1]
    images = tf.random.stateless_normal([recipe.batch_size, 32, 32, 3], [0, 0])
    labels = tf.zeros([recipe.batch_size], tf.int64)
    batches = iter(tf.data.Dataset.from_tensors((images, labels, tf.ones([recipe.batch_size]))).repeat())
    began = time.perf_counter()
    for _ in range(steps):
        step(batches, tf.constant(1), tf.constant(0.0))
    return row["images_per_second"], row["waiting_share"], steps * recipe.batch_size / (time.perf_counter() - began)


def spread(values: list[float]) -> str:
    """Returns median, lowest and highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Prints the figures."""
    print(", ".join(f"{key} {value}" for key, value in describe_environment().items()))
    data = random_data()
    print(f"input pipeline alone, images/s: {spread([pipeline_rate(data) for _ in range(FLAGS.turns)])}")
    turns = [turn(data, FLAGS.model, FLAGS.precision, FLAGS.steps) for _ in range(FLAGS.turns)]
    whole, waiting, bare = (list(column) for column in zip(*turns, strict=True))
    print(f"{FLAGS.model}, {FLAGS.precision}, batch 128, images/s")
    print(f"  whole trainer  {spread(whole)}, of its time waiting for data: {spread(waiting)}")
    print(f"  bare step      {spread(bare)}")
    print(f"  whole / bare   {spread([w / b for w, b in zip(whole, bare, strict=True)])}")


if __name__ == "__main__":
    run_program(main)
