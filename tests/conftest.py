"""What every test starts from."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest
import tensorflow as tf

gc.freeze()  # The half million objects of TensorFlow need not be looked through again and again.
if "PYTEST_XDIST_WORKER" in os.environ:  # The workers share the cores: one thread each.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


@pytest.fixture(autouse=True)
def _fresh_keras():
    """The same random numbers before each test, the same global dtype policy and image format after it."""
    policy, image_format = keras.config.dtype_policy(), keras.config.image_data_format()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(image_format)
