"""The input pipeline alone, and the whole trainer beside its bare training step: python -m benchmarks.trainer.

The whole trainer is what `training.train` runs: it shuffles, augments, steps, logs and saves checkpoints (here every 20
and 40 steps, more often than by default). The bare step trains on one batch that is there already. They take turns, so
that a drift of the machine's speed meets both alike. Run it on an idle machine.
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
flags.DEFINE_integer("blocks", 15, "turns of each contestant", lower_bound=1)

BLOCK = 20  # Steps of a turn.


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


class Interleaved:
    """A training step that makes as many steps on one batch that is there, after every `BLOCK` steps of the trainer.

    Args:
        step: The trainer's.
    """

    def __init__(self, step: TrainingStep):
        self._step = step
        images = tf.random.stateless_normal([step.recipe.batch_size, 32, 32, 3], [0, 0])
        batch = images, tf.zeros([len(images)], tf.int64), tf.ones([len(images)])
        self._batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
        self.calls, self.bare, self.whole = 0, [], []  # Seconds of each block.
        self._began = time.perf_counter()

    def __getattr__(self, name):
        return getattr(self._step, name)

    def __call__(self, *arguments):
        results = self._step(*arguments)
        float(results[0])
        self.calls += 1
        if self.calls % BLOCK == 0:
            between = time.perf_counter()
            for _ in range(BLOCK):
                float(self._step(self._batches, tf.constant(1), tf.constant(0.0))[0])
            self.whole.append(between - self._began)  # With what the loop has logged and saved since the last block.
            self._began = time.perf_counter()
            self.bare.append(self._began - between)
        return results


def run_blocks(data: ImageData, model: str, precision: str, blocks: int) -> tuple[list[float], list[float], float]:
    """Returns images a second of the whole trainer and of the bare step in each block, and the share spent waiting."""
    steps = (blocks + 1) * BLOCK
    recipe = dataclasses.replace(RECIPES["paper_cifar"], train_steps=steps)
    keras.utils.set_random_seed(0)
    step = Interleaved(TrainingStep(create_model(model, dtype=precision), recipe, precision))
    with tempfile.TemporaryDirectory() as place, redirect_stdout(StringIO()):
        folder = RunFolder(Path(place) / "run")
        with closing(folder):
            folder.open({"status": "running", "settings": {"model": model}, "data": {"sha256": ""}})
            training = Training(step, data, 0, folder, Intervals(steps, checkpoint=2 * BLOCK, log=BLOCK))
            training.run()
        waiting = 2 * training.log.steps.rows["waiting_share"].iloc[-1]  # Half of the time it was not the trainer's.
    images = BLOCK * recipe.batch_size
    whole, bare = ([images / seconds for seconds in part[1:]] for part in (step.whole, step.bare))
    return whole, bare, waiting


def spread(values: list[float]) -> str:
    """Returns median, lowest and highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Prints the figures."""
    print(", ".join(f"{key} {value}" for key, value in describe_environment().items()))
    data = random_data()
    print(f"input pipeline alone, images/s: {spread([pipeline_rate(data) for _ in range(5)])}")
    whole, bare, waiting = run_blocks(data, FLAGS.model, FLAGS.precision, FLAGS.blocks)
    print(f"{FLAGS.model}, {FLAGS.precision}, batch 128, images/s of {FLAGS.blocks} blocks of {BLOCK} steps in turns")
    print(f"  whole trainer  {spread(whole)}, of its time waiting for data: {waiting:.1%}")
    print(f"  bare step      {spread(bare)}")
    print(f"  whole / bare   {spread([w / b for w, b in zip(whole, bare, strict=True)])}")


if __name__ == "__main__":
    run_program(main)
