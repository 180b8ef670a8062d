"""Trainings in processes of their own, whose devices are theirs to split: see device_run.py."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np


def start(settings, file, **environment):
    command = [sys.executable, str(Path(__file__).parent / "device_run.py"), json.dumps(settings), str(file)]
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": root, **environment}, stderr=subprocess.PIPE, text=True
    )


def read(process, file):
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors[-3000:]
    found = {}
    for key, value in np.load(file).items():
        name, _, part = key.partition(":")
        found.setdefault(name, {})[part] = value
    return found


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Found(dict):
    """What runs have found, by name; the slow runs are made when the first of them is asked for."""

    def __init__(self, make, quick, slow):
        super().__init__(make(quick))
        self._make_the_rest = lambda: make(slow)

    def __missing__(self, name):
        self.update(self._make_the_rest())
        return dict(self)[name]


def run_workers(runs, folder):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(start(runs, folder / f"{index}.npz", TF_CONFIG=json.dumps(task)))
    found = [read(process, folder / f"{index}.npz") for index, process in enumerate(processes)]
    return {name: [one[name] for one in found] for name in runs}
