"""Run by test_synchronization.py in a process of its own, whose CPU is split: calls a synchronized layer.

Prints a line of JSON: for each way to call it, outputs and moving statistics, or the error.
"""

import json

import keras
import numpy as np
import tensorflow as tf

from keras_preresnet import FusedBatchNormalization

IMAGES = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype("float32")
DEVICES = ["CPU:0", "CPU:1"]


def in_the_scope(strategy, layer):
    with strategy.scope():
        return layer(IMAGES, training=True)


def in_replicas(strategy, layer):
    """Each has half of the images."""
    return _run(strategy, lambda images: layer(images, training=True))


def in_a_function_in_replicas(strategy, layer):
    inner = tf.function(lambda images: layer(images, training=True), autograph=False)
    return _run(strategy, lambda images: inner(images))


def in_a_loop_in_replicas(strategy, layer):
    def step(count, images):
        return count + 1, layer(images, training=True)

    return _run(strategy, lambda images: tf.while_loop(lambda count, _: count < 2, step, [0, images])[1])


def in_fit(strategy, layer):
    with strategy.scope():
        model = keras.Sequential([keras.Input(IMAGES.shape[1:]), layer])
        model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    model.fit(IMAGES, np.zeros_like(IMAGES), batch_size=len(IMAGES), verbose=0)
    return []


def _run(strategy, function):
    halves = np.split(IMAGES, 2)
    shares = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(halves[context.replica_id_in_sync_group])
    )
    outputs = tf.function(lambda: strategy.run(function, (shares,)), autograph=False)()
    return tf.concat(strategy.experimental_local_results(outputs), 0)


def attempt(call):
    """Returns what came of a call of a new layer."""
    strategy = tf.distribute.MirroredStrategy(DEVICES)
    with strategy.scope():
        layer = FusedBatchNormalization(synchronized=True)
        layer.build(IMAGES.shape)
    try:
        outputs = np.asarray(call(strategy, layer)).tolist()
    except RuntimeError as error:
        return str(error)
    return [outputs, *(np.asarray(weight.value).tolist() for weight in layer.non_trainable_weights)]


def main():
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * len(DEVICES))
    calls = (in_the_scope, in_replicas, in_a_function_in_replicas, in_a_loop_in_replicas, in_fit)
    print(json.dumps({call.__name__: attempt(call) for call in calls}))


if __name__ == "__main__":
    main()
