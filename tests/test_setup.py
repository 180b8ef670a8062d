"""What a user installs: the library alone."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from keras_preresnet import weights_info

ROOT = Path(__file__).parent.parent
USE = """
import sys, keras_preresnet
assert not {"tensorflow_datasets", "sklearn", "matplotlib", "pandas"} & set(sys.modules)
print(keras_preresnet.__file__, keras_preresnet.PreResNet20()(__import__("numpy").zeros((1, 32, 32, 3))).shape)
"""


def _wheel(folder):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run([str(part) for part in command], check=True, cwd=folder)
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


def test_the_wheel_holds_the_library_and_nothing_else(tmp_path):
    wheel = _wheel(tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"keras_preresnet"}
    library = {f"keras_preresnet/{path.name}" for path in (ROOT / "keras_preresnet").glob("*.py")}
    library |= {f"keras_preresnet/packaged_weights/{row.file.name}" for row in weights_info()}
    assert library <= set(names)
    assert wheel.stat().st_size < 30e6


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(tmp_path):
    wheel = _wheel(tmp_path)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", wheel], check=True, cwd=tmp_path)
    result = subprocess.run([python, "-c", USE], check=True, cwd=tmp_path, capture_output=True, text=True)
    assert str(tmp_path) in result.stdout
    assert "(1, 10)" in result.stdout
