"""Run by test_budget.py in a process of its own: seconds until a net has made its first training step, as JSON.

Arguments: the name of the net, the batch size, the dtype policy, "remat" or nothing.
"""

import json
import resource
import sys
import time

import keras
import tensorflow as tf

import keras_preresnet


def training_step(model, optimizer, images, labels):
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            loss = loss_function(labels, model(images, training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return step.get_concrete_function(images, labels)


def main():
    name, batch, policy = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    images, labels = tf.random.normal([batch, 32, 32, 3]), tf.zeros([batch], tf.int32)
    start = time.perf_counter()
    model = keras_preresnet.create_model(name, dtype=policy, remat="remat" in sys.argv)
    built = time.perf_counter()
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    step = training_step(model, optimizer, images, labels)
    traced = time.perf_counter()
    losses = [float(step(images, labels))]
    first = time.perf_counter()
    losses.append(float(step(images, labels)))
    second = time.perf_counter()
    print(
        json.dumps(
            {
                "name": name,
                "policy": policy,
                "build": built - start,
                "trace": traced - built,
                "first step": first - traced,
                "second step": second - first,
                "to the end of the first step": first - start,
                "peak, GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                "losses": losses,
            }
        )
    )


main()
