"""Installs `keras_preresnet`, the library. The programs of `training/` run from a clone."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "keras_preresnet/__init__.py").read_text(), re.MULTILINE)[1]

# The floors are the oldest releases that the test suite has run on.
LIBRARY = ["tensorflow>=2.21", "keras>=3.15", "h5py>=3.11"]
TRAIN = [
    "absl-py>=2.1",
    "tensorflow-datasets>=4.9.10",
    "importlib_resources>=6",  # tensorflow-datasets needs it to read CIFAR-10 and does not declare it.
    "scikit-learn>=1.5",  # The digits.
    "scipy>=1.14",
    "matplotlib>=3.9",
    "pandas>=3.1",  # Reads floats exactly as they were written.
    "rich>=13",
    "tensorboard>=2.20",
]
EXPORT = [
    "tf2onnx>=1.17",
    "onnx>=1.23",
    "onnxruntime>=1.32",
    "ai-edge-litert>=2.3",
    "tensorflow-serving-api>=2.21",  # The messages of warm-up requests.
]
TEST = [*TRAIN, *EXPORT, "pytest>=8", "pytest-xdist>=3.8", "ruff>=0.9", "wheel"]

setup(
    name="keras-preresnet",
    version=VERSION,
    description="Pre-activation ResNets (He et al., 2016) in Keras 3 on TensorFlow: every unit, every net, and fast",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["keras_preresnet", "keras_preresnet.*"]),
    package_data={"keras_preresnet": ["packaged_weights/*.weights.h5"]},
    python_requires=">=3.11",
    install_requires=LIBRARY,
    extras_require={
        "train": TRAIN,
        "test": TEST,
        "gpu": ["tensorflow[and-cuda]>=2.21"],
        "export": EXPORT,
        "benchmark": [*TRAIN, *EXPORT, "openvino>=2026.4", "torch>=2.13", "pytorchcv>=0.0.74"],
    },
)
