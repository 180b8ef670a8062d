"""Programs around `keras_preresnet`, run from a clone: `python -m training.train --help`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Of TensorFlow's own messages, show the errors.
