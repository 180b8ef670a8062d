"""Batch norm over two replicas, against one layer that has all images, by the way in which it is called."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import replicas
from library_helpers import assert_close

from keras_preresnet import FusedBatchNormalization


@pytest.fixture(scope="module")
def found():
    """What came of each call, in a process with two devices."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.run([sys.executable, replicas.__file__], env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


@pytest.mark.parametrize("call", ["in_the_scope", "in_replicas", "in_fit"])
def test_statistics_are_those_of_the_whole_batch(found, call):
    layer = FusedBatchNormalization()
    outputs = layer(replicas.IMAGES, training=True)
    expected = [outputs, layer.moving_mean, layer.moving_variance]
    first = 1 if call == "in_fit" else 0  # Which has no outputs.
    actual = [np.array(values) for values in found[call]]
    assert_close(actual[first:], expected[first:], 1e-5)


@pytest.mark.parametrize("call", ["in_a_function_in_replicas", "in_a_loop_in_replicas"])
def test_within_a_function_or_loop_of_a_replica_tensorflow_refuses_it(found, call):
    assert "`merge_call` called while defining a new graph or a tf.function" in found[call]
