"""`saved_model_cli`, TensorFlow's own tool, shows and runs every endpoint."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from image_files import encode

from keras_preresnet import ResidualNetwork
from keras_preresnet.export import export_saved_model
from keras_preresnet.preprocessing import CIFAR10

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
CLI = Path(sys.executable).with_name("saved_model_cli")


def _cli(*arguments):
    return subprocess.run([CLI, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_it_shows_and_runs_every_endpoint(tmp_path):
    if not CLI.exists():
        pytest.skip(f"TensorFlow's saved_model_cli is not beside {sys.executable}")
    model = ResidualNetwork(units=(1,), widths=(8,), stem_width=8, classes=3, input_shape=(8, 8, 3))
    path = export_saved_model(model, tmp_path / "net", CIFAR10, ("cat", "dog", "elk"))
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "image_bytes.npy", np.array([encode(IMAGES[0], "PNG"), b"hello"]))
    inputs = {"predict": "images", "serving_default": "images", "embed": "images", "predict_bytes": "image_bytes"}

    def run(name):
        given = f"{inputs[name]}={tmp_path / inputs[name]}.npy"
        return _cli("run", "--dir", path, "--tag_set", "serve", "--signature_def", name, "--inputs", given)

    with ThreadPoolExecutor(2) as pool:
        shown = pool.submit(_cli, "show", "--dir", path, "--all")
        said = dict(zip(inputs, pool.map(run, inputs), strict=True))
    assert all(f"signature_def['{name}']" in shown.result() for name in inputs)
    for name in ("predict", "serving_default", "predict_bytes"):
        assert "Result for output key probabilities:" in said[name]
    assert "Result for output key embedding:" in said["embed"]
    assert "[b'' b'no JPEG, PNG, GIF or BMP']" in said["predict_bytes"]
