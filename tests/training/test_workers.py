"""The real program in two processes on this machine, beside the same training on two replicas of one process."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from device_helpers import free_ports
from programs import environment, messages, run_program

FLAGS = (
    "--data=set.npz",
    "--depth=8",
    "--recipe=digits",
    "--batch_size=16",
    "--learning_rate=0.02",
    "--steps_per_checkpoint=3",
    "--steps_per_evaluation=4",
    "--steps_per_log=3",
    "--saved_model_dir=net",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set whose 11 test images do not divide by two replicas."""
    folder = tmp_path_factory.mktemp("work")
    draw = np.random.default_rng(0)

    def part(count):
        return draw.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8), np.arange(count) % 3

    (x_train, y_train), (x_test, y_test) = part(60), part(11)
    np.savez(folder / "set.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return folder


def _start_workers(folder, steps, run_dir, *more):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        # The second process has a folder of its own: it may be on another machine.
        own = (f"--train_steps={steps}", f"--run_dir={run_dir if index == 0 else 'elsewhere'}", *more)
        command = [sys.executable, "-m", "training.train", *FLAGS, *own]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        told = {**environment(), "TF_CONFIG": json.dumps(task)}
        processes.append(subprocess.Popen(command, cwd=folder, env=told, **pipes))
    return processes


def _finish(processes, code=0):
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [code, code], outputs
    return [output for output, _ in outputs]


def _variables(run):
    (newest,) = sorted((run / "checkpoints").glob("step_*"))[-1:]
    reader = tf.train.load_checkpoint(str(newest / "variables"))
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if "VARIABLE_VALUE" in key}


def _metrics(run):
    rows = pd.read_csv(run / "metrics.csv")
    return rows.drop(columns=["images_per_second", "waiting_share", "seconds"])


@pytest.fixture(scope="module")
def mirrored(folder):
    process = run_program("train", *FLAGS, "--train_steps=8", "--cpu_replicas=2", "--run_dir=mirrored", cwd=folder)
    assert process.returncode == 0, process.stderr
    return folder / "mirrored"


def test_two_processes_are_told_to_stop_and_go_on_to_the_end_of_two_replicas(folder, mirrored):
    processes = _start_workers(folder, 8, "run")
    while not (folder / "run" / "checkpoints").exists():
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.005)
    processes[1].send_signal(signal.SIGTERM)  # One is told, and both stop after the same step.
    outputs = _finish(processes, 75)
    assert all("and saved; the same command goes on from there" in output for output in outputs)
    outputs = _finish(_start_workers(folder, 8, "run"))
    assert "going on after step" in outputs[0]
    assert "test accuracy" in outputs[0]
    assert outputs[1] == ""
    assert not (folder / "elsewhere").exists()
    ours, reference = _variables(folder / "run"), _variables(mirrored)
    assert ours.keys() == reference.keys()
    for key, value in reference.items():
        np.testing.assert_allclose(ours[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
    pd.testing.assert_frame_equal(_metrics(folder / "run"), _metrics(mirrored), rtol=1e-5)


def test_every_test_image_is_counted_once(folder, mirrored):
    record = json.loads((mirrored / "run.json").read_text())
    assert (record["result"]["images"], record["settings"]["replicas"]) == (11, 2)
    process = run_program("evaluate", "--net=mirrored", "--data=set.npz", cwd=folder)
    assert process.returncode == 0, process.stderr
    evaluation = json.loads((mirrored / "evaluation" / "evaluation.json").read_text())
    assert evaluation["images"] == 11
    assert evaluation["error"] == pytest.approx(record["result"]["test_error"])


def test_a_run_that_the_chief_refuses_is_refused_by_all(folder, mirrored):
    processes = _start_workers(folder, 9, "mirrored")
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [1, 1]
    assert "mirrored holds a run with other settings: train_steps (8 there, 9 now)" in outputs[0][1]
    assert "the chief refused the run; its own message says why" in outputs[1][1]


def test_a_run_on_a_file_needs_its_path_to_be_evaluated(folder, mirrored):
    process = run_program("evaluate", "--net=mirrored", cwd=folder)
    assert process.returncode == 1
    assert messages(process) == ["error: --data is needed: mirrored was trained on set.npz; give its path."]
