"""What every test starts from."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest
import tensorflow as tf
from seeds import draw_anew

gc.freeze()  # The half million objects of TensorFlow need not be looked through again and again.
gc.set_threshold(50_000, 20, 100)  # Nor those of every net that has been built.
if "PYTEST_XDIST_WORKER" in os.environ:  # The workers share the cores: one thread each.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
keras.utils.set_random_seed(0)


LONGEST = (
    "test_reproduce.py",
    "test_devices.py",
    "test_kills.py",
    "test_propagation_study.py",
    "test_stacks_equality.py",
    "test_photographs.py",
    "test_workers.py",
    "test_publish.py",
    "test_loop.py",
    "test_programs.py",
    "test_evaluate_program.py",
    "test_fine_tuning.py",
    "test_saving.py",
    "test_looped_net.py",
    "test_export_job.py",
    "test_units.py",
    "test_transfer_guide.py",
)


def pytest_collection_modifyitems(items):
    """The longest files first, half a minute to a minute each, so that no worker is left alone with one at the end."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def _fresh_keras():
    """The same random numbers before each test, the same global dtype policy and image format after it."""
    policy, image_format = keras.config.dtype_policy(), keras.config.image_data_format()
    draw_anew(0)
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(image_format)
