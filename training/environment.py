"""What a run says of the machine and the versions it ran on: no host name, no path."""

import platform
from importlib.metadata import version
from pathlib import Path

import tensorflow as tf

import keras_preresnet
from training.devices import usable_cores

PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-datasets")


def describe_environment() -> dict:
    """Returns the processor, the cores that this process may use, accelerators, and the versions of what computes."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "accelerators": [device.device_type for device in tf.config.get_visible_devices() if not _is_cpu(device)],
        "python": platform.python_version(),
        "keras_preresnet": keras_preresnet.__version__,
        **{package: version(package) for package in PACKAGES},
    }


def _is_cpu(device):
    return device.device_type == "CPU"


def _processor():
    """The model name; Python's own platform.processor() is empty on many Linux machines."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [
            line.split(":", 1)[1] for line in information.read_text().splitlines() if line.startswith("model name")
        ]
        if names:
            return names[0].strip()
    return platform.processor() or platform.machine()
