"""Programs around `keras_preresnet`, run from a clone: `python -m training.train --help`."""

import os
import sys
from importlib.util import find_spec

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Of TensorFlow's own messages, show the errors.

_NEEDED = {
    "absl": "absl-py",
    "matplotlib": "matplotlib",
    "pandas": "pandas",
    "rich": "rich",
    "sklearn": "scikit-learn",
    "tensorboard": "tensorboard",
    "tensorflow_datasets": "tensorflow-datasets",
}
_missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
if _missing:
    sys.exit(f"error: {', '.join(_missing)} not installed; in the clone: pip install -e '.[train]'")
