"""Training images a second, this package beside stock Keras layers: python -m benchmarks.training_step.

Both train the same net, weight for weight, on the same batch of random images; the contestants take turns, so that
a drift of the machine's speed meets them alike, and ratios are taken turn by turn. Run it on an idle machine.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.stock import stock_preresnet
from benchmarks.with_tensorflow import keras_training_step, our_training_step
from benchmarks.worker import measured_rate
from keras_preresnet import ResidualNetwork
from training.environment import describe_environment
from training.errors import UserError, run_program

FLAGS = flags.FLAGS

flags.DEFINE_list("depths", ["20", "164"], "depths of the nets, each with its batch size behind a colon if wanted")
flags.DEFINE_integer("turns", 7, "turns of each contestant", lower_bound=1)
flags.DEFINE_float("seconds", 4.0, "seconds of a turn", lower_bound=0)
flags.DEFINE_string("json", None, "file to write the figures to as well")

BATCH_SIZES = {20: 128, 56: 128, 110: 128, 164: 64, 1001: 16}
BOTTLENECKS = (164, 1001)
POLICIES = ("float32", "mixed_bfloat16")
STOCK = "stock Keras layers"
OURS = "keras_preresnet"
# What is compared, and the ratio that the project promises at depth 20 and 164.
RATIOS = {
    ("mixed_bfloat16", "float32"): "1.6 / 2",
    ("float32", "float32"): "1.3 / 1.3",
    ("mixed_bfloat16", "mixed_bfloat16"): "-",
}


def stock_step(depth: int, branch: str, policy: str, images: tf.Tensor, labels: tf.Tensor) -> Callable[[], float]:
    """Returns a training step of the stock net on one batch, with Keras's own momentum SGD."""
    keras.config.set_dtype_policy(policy)
    model = stock_preresnet(depth, branch)
    keras.config.set_dtype_policy("float32")
    return keras_training_step(model, images, labels, compiles=False)


def our_step(depth: int, branch: str, policy: str, images: tf.Tensor, labels: tf.Tensor) -> Callable[[], float]:
    """Returns the trainer's own step on one batch."""
    model = ResidualNetwork(depth, branch=branch, widening="projection", dtype=policy)
    return our_training_step(model, images, labels, compiles=False)


def measure(depth: int, batch_size: int, turns: int, seconds: float) -> dict[tuple[str, str], dict]:
    """Returns, for each contestant, seconds from construction to the end of the first step and images/s by turn."""
    images = tf.constant(np.random.default_rng(0).normal(size=(batch_size, 32, 32, 3)), tf.float32)
    labels = tf.constant(np.random.default_rng(1).integers(0, 10, batch_size))
    branch = "bottleneck" if depth in BOTTLENECKS else "basic"
    steps, figures = {}, {}
    for name, make in ((OURS, our_step), (STOCK, stock_step)):
        for policy in POLICIES:
            began = time.perf_counter()
            steps[name, policy] = make(depth, branch, policy, images, labels)
            steps[name, policy]()
            figures[name, policy] = {"start": time.perf_counter() - began, "rates": []}
    for _ in range(turns):
        for contestant, step in steps.items():
            figures[contestant]["rates"].append(batch_size * measured_rate(step, seconds))
    return figures


def report(depth: int, batch_size: int, figures: dict) -> list[str]:
    """Returns the lines of a table of rates and one of ratios."""
    lines = [f"depth {depth}, batch {batch_size}:  images/s, median (lowest to highest); seconds to the first step"]
    for (name, policy), figure in figures.items():
        rates = figure["rates"]
        spread = f"{statistics.median(rates):7.1f} ({min(rates):.1f} to {max(rates):.1f})"
        lines.append(f"  {name:20} {policy:16} {spread:30} {figure['start']:6.1f} s")
    for (ours, stock), promised in RATIOS.items():
        ratios = _ratios(figures, ours, stock)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"  ours in {ours} / stock in {stock}: {spread}; promised at depth 20 / 164: {promised}")
    return lines


def _ratios(figures, ours, stock):
    pairs = zip(figures[OURS, ours]["rates"], figures[STOCK, stock]["rates"], strict=True)
    return [our / their for our, their in pairs]


def main() -> None:
    environment = describe_environment()
    print(", ".join(f"{key} {value}" for key, value in environment.items()))
    results = []
    for entry in FLAGS.depths:
        depth, _, batch = entry.partition(":")
        if not depth.isdigit() or (batch and not batch.isdigit()):
            raise UserError(f"--depths={entry} is refused: 20 or 20:128 is needed.")
        depth = int(depth)
        batch_size = int(batch) if batch else BATCH_SIZES.get(depth, 64)
        figures = measure(depth, batch_size, FLAGS.turns, FLAGS.seconds)
        print("\n".join(report(depth, batch_size, figures)), flush=True)
        rows = [{"name": name, "policy": policy, **figure} for (name, policy), figure in figures.items()]
        results.append({"depth": depth, "batch_size": batch_size, "rows": rows})
    if FLAGS.json:
        Path(FLAGS.json).write_text(json.dumps({"environment": environment, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    run_program(main)
