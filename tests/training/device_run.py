"""Trains a small net for ten steps on the devices that its arguments name, and writes what came of it to a file.

A program of its own: TensorFlow chooses its devices once in a process. Arguments: JSON of settings, output file.
"""

import json
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from keras_preresnet import ResidualNetwork, batch_norm
from training.devices import choose_strategy, is_chief, share_from_chief
from training.recipes import Recipe
from training.step import TrainingStep

BATCH, STEPS = 16, 10
LARGE = batch_norm.LARGE
NET = {"units": (6,), "widths": (8,), "stem_width": 8, "classes": 3, "input_shape": (8, 8, 3)}
RECIPE = Recipe(batch_size=BATCH, train_steps=STEPS, warmup_steps=0, learning_rate=0.01, learning_rate_drops=())


def batches():
    """Returns images, labels and weights of all steps; the last image of each batch does not count."""
    draw = np.random.default_rng(7)  # Rounding opens other ReLUs with some seeds, under XLA.
    images = draw.normal(size=(STEPS, BATCH, 8, 8, 3)).astype("float32")
    weights = np.ones((STEPS, BATCH), "float32")
    weights[:, -1] = 0
    return images, draw.integers(0, 3, (STEPS, BATCH)), weights


def distributed(strategy, seconds=0.0):
    """Returns an iterator whose turns are the replicas' equal shares of each batch, each so many seconds in coming."""

    def wait():
        time.sleep(seconds)
        return np.int64(0)

    def shares(context):
        local = context.num_replicas_in_sync // context.num_input_pipelines
        first, share = context.input_pipeline_id * local, BATCH // context.num_replicas_in_sync

        def pick(turn):
            late = tf.numpy_function(wait, [], tf.int64) if seconds else 0
            row = (first + turn % local) * share + late
            parts = (tf.constant(array)[turn // local][row : row + share] for array in batches())
            return tuple(tf.ensure_shape(part, [share, *part.shape[1:]]) for part in parts)

        return tf.data.Dataset.range(STEPS * local).map(pick)

    return iter(strategy.distribute_datasets_from_function(shares))


def run(settings: dict) -> dict[str, np.ndarray]:
    """Returns the losses, weights and statistics of a training with these settings."""
    strategy = choose_strategy("auto", settings.get("cpu_replicas", 1))
    batch_norm.LARGE = settings.get("large", LARGE)
    keras.utils.set_random_seed(1)
    precision = settings.get("precision", "float32")
    with strategy.scope():
        model = ResidualNetwork(**NET, dtype=precision, **settings.get("net", {}))
        recipe = Recipe(**{**RECIPE.__dict__, **settings.get("recipe", {})})
        step = TrainingStep(
            model,
            recipe,
            precision,
            settings.get("jit_compile", False),
            settings.get("sync_batch_norm", False),
            strategy,
        )
    if not is_chief(strategy):  # What only the chief has read from its files.
        for weight in model.weights:
            weight.assign(tf.zeros_like(weight))
    share_from_chief(strategy, step.variables_to_save().values())
    iterator = distributed(strategy, settings.get("seconds", 0.0))
    per_call = settings.get("steps_per_call", 1)
    losses, stops, waits, first = [], [], [], {}
    for call in range(STEPS // per_call):
        stopping = float(call == 3 and settings.get("stops", False) and not is_chief(strategy))
        loss, waited, stopped = step(iterator, tf.constant(per_call), tf.constant(stopping))
        first = first or {f"first/{v.path}": v.numpy() for v in model.non_trainable_variables}
        waits.append(float(waited))
        losses.append(float(loss))
        stops.append(float(stopped))
    weights = {f"weight/{i}/{v.path}": v.numpy() for i, v in enumerate(model.trainable_variables)}
    statistics = {f"statistic/{i}/{v.path}": v.numpy() for i, v in enumerate(model.non_trainable_variables)}
    averages = {f"average/{i}": v.numpy() for i, v in enumerate(step.weights_to_evaluate())}
    totals = {"totals": step.since_evaluation.sums.numpy(), "norms": step.gradient_norms.numpy()}
    offsets = strategy.experimental_local_results(strategy.run(step._seed_offset))
    totals |= {"offsets": np.array([int(offset) for offset in offsets]), "waits": np.array(waits), **first}
    totals["threads"] = np.array(tf.config.threading.get_intra_op_parallelism_threads())
    return {"losses": np.array(losses), "stops": np.array(stops), **totals, **weights, **statistics, **averages}


if __name__ == "__main__":
    found, runs = {}, json.loads(sys.argv[1])
    # Before all else of TensorFlow: runs on one device and on several share the CPU as it is split here.
    choose_strategy("auto", max(settings.get("cpu_replicas", 1) for settings in runs.values()))
    for name, settings in runs.items():
        found.update({f"{name}:{key}": value for key, value in run(settings).items()})
    np.savez(sys.argv[2], **found)
