"""The package: its public names, what it imports, and what it says under another Keras backend."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_preresnet

PACKAGE = Path(keras_preresnet.__file__).parent


def python(code, **environment):
    """Runs code in a fresh process."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("KERAS_BACKEND", "KERAS_HOME")}
    environment = {**inherited, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def assert_names_backend_and_remedy(process, backend):
    error = process.stderr.strip().splitlines()[-1]
    assert process.returncode == 1
    assert error.startswith("ImportError: keras_preresnet runs on TensorFlow")
    assert repr(backend) in error
    assert "KERAS_BACKEND=tensorflow" in error


def test_the_tests_import_the_library_and_not_the_folder_of_its_tests():
    assert (PACKAGE / "units.py").is_file()
    assert "tests" not in PACKAGE.parts


def test_the_public_names():
    expected = {
        *("DESIGNS", "SHORTCUTS", "WIDENINGS", "BRANCHES"),
        *("FusedBatchNormalization", "ResidualUnit", "UnitStack", "ResidualNetwork"),
        *("weights_info", "load_weights", "PackagedWeights", "with_learning_rate_multipliers"),
        *("reset_classifier", "freeze", "unfreeze", "features", "embeddings"),
        *("Preprocessing", "preprocess_input", "decode_predictions", "ImageInput"),
        *("set_preprocessing", "model_preprocessing", "model_class_names"),
        *("create_model", "list_models", *keras_preresnet.list_models()),
    }
    assert expected <= set(vars(keras_preresnet))


def test_the_library_imports_nothing_from_the_trainer():
    for file in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in imported if name.split(".")[0] in ("training", "tests", "benchmarks")], file


@pytest.mark.parametrize("backend", ["jax", "torch", "numpy", "openvino"])
def test_another_backend_is_refused_in_one_line(backend):
    assert_names_backend_and_remedy(python("import keras_preresnet", KERAS_BACKEND=backend), backend)


def test_another_backend_that_keras_runs_on_already_is_refused():
    """A stand-in for Keras, whose other backends are not installed here."""
    code = """
import sys, types
sys.modules["keras"] = types.ModuleType("keras")
sys.modules["keras"].backend = types.SimpleNamespace(backend=lambda: "jax")
import keras_preresnet
"""
    assert_names_backend_and_remedy(python(code), "jax")


@pytest.mark.parametrize("backend", ["numpy", "jax", "torch"])
def test_another_backend_of_the_configuration_file_is_refused(backend, tmp_path):
    """Whether that backend is installed or not."""
    (tmp_path / "keras.json").write_text(json.dumps({"backend": backend}))
    process = python("import keras_preresnet", KERAS_HOME=str(tmp_path))
    assert_names_backend_and_remedy(process, backend)


def test_tensorflow_by_the_environment_overrides_the_configuration_file(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "jax"}))
    code = "import keras_preresnet; print(keras_preresnet.list_models('*20'))"
    process = python(code, KERAS_HOME=str(tmp_path), KERAS_BACKEND="tensorflow")
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "['PreResNet20', 'ResNet20']"
