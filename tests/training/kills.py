"""A real run, broken off by SIGKILL at random moments and started again until it is done."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from programs import environment, run_program

import keras_preresnet  # noqa: F401 - registers its layers.
from training import checkpoints

TIME_COLUMNS = ["images_per_second", "waiting_share", "seconds"]
# Everything that has a state: dropout's seeds, loss sums between evaluations, a moving average, the best so far.
FLAGS = (
    "--data=digits",
    "--shortcut=dropout",
    "--shortcut_options=rate=0.1",
    "--precision=mixed_bfloat16",
    "--ema_momentum=0.9",
    "--batch_size=16",
    "--deterministic",
    "--steps_per_checkpoint=10",
    "--steps_per_evaluation=25",
    "--steps_per_log=15",
    "--noexport",
)


def _flags(folder: Path, steps: int) -> tuple[str, ...]:
    return *FLAGS, f"--train_steps={steps}", f"--run_dir={folder / 'run'}"


def start(folder: Path, steps: int) -> subprocess.Popen:
    """Starts the run in `folder`."""
    command = [sys.executable, "-m", "training.train", *_flags(folder, steps)]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(folder: Path, steps: int) -> subprocess.CompletedProcess:
    """Makes the run in `folder`, or goes on with it, to its end, which must be a good one."""
    process = run_program("train", *_flags(folder, steps), cwd=folder)
    assert process.returncode == 0, process.stderr[-3000:]
    return process


def newest_step(folder: Path) -> int:
    """Returns the step of the run's newest checkpoint, 0 if there is none."""
    return checkpoints.newest_step(folder / "run" / "checkpoints")


def break_off(folder: Path, steps: int, while_saving: bool, draw: random.Random) -> str | None:
    """Starts the run and kills it after it has come further, or while it saves; None if it ended first."""
    before = newest_step(folder)
    process = start(folder, steps)
    partial = folder / "run" / "checkpoints" / ".partial"
    while process.poll() is None and newest_step(folder) == before:
        time.sleep(0.002)
    delay = draw.uniform(0, 1.5)
    if while_saving:
        while process.poll() is None and not partial.exists():
            time.sleep(0.0005)
    else:
        time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if process.returncode == 0:
        return None
    assert process.returncode == -signal.SIGKILL
    return f"while saving after step {newest_step(folder)}" if while_saving else f"{delay:.3f} s after step {before}"


def end_state(folder: Path) -> dict[str, np.ndarray]:
    """Returns every variable of the last checkpoint and of the saved nets, as bits."""
    path = folder / "run" / "checkpoints" / f"step_{newest_step(folder):08d}" / "variables"
    reader = tf.train.load_checkpoint(str(path))
    state = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if "VARIABLE_VALUE" in key}
    for name in ("best.keras", "model.keras"):
        net = keras.saving.load_model(folder / "run" / name, compile=False)
        state.update({f"{name}/{index}": weight for index, weight in enumerate(net.get_weights())})
    return state


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Returns the run's tables without the columns of time, and TensorBoard's events as one more."""
    found = {}
    for name in ("metrics.csv", "steps.csv"):
        rows = pd.read_csv(folder / "run" / name)
        found[name] = rows.drop(columns=[column for column in TIME_COLUMNS if column in rows])
    events = []
    for file in sorted((folder / "run" / "tensorboard").iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                if value.tag.split("/")[-1] not in TIME_COLUMNS:
                    events.append((event.step, value.tag, float(tf.make_ndarray(value.tensor))))
    found["events"] = pd.DataFrame(sorted(events), columns=["step", "tag", "value"])
    return found


def require_same_end(broken: Path, whole: Path) -> None:
    """Asserts that two runs ended in the same bits."""
    ours, reference = end_state(broken), end_state(whole)
    assert ours.keys() == reference.keys()
    assert len(ours) > 200
    for key, value in reference.items():
        assert value.dtype == ours[key].dtype
        assert value.tobytes() == ours[key].tobytes(), key
    for name, rows in tables(whole).items():
        pd.testing.assert_frame_equal(tables(broken)[name], rows, check_exact=True, obj=name)
        assert len(rows)
