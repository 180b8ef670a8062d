"""Small stacks, and what a step through one gives."""

import tensorflow as tf
from library_helpers import normal, numpy, randomize
from seeds import draw_anew

from keras_preresnet import ResidualUnit, UnitStack

COUNT, WIDTH = 3, 4


def new_stack(unit, form, policy="float32", count=COUNT):
    """A built stack with weights of its own, the same ones whatever the form."""
    draw_anew(1)
    stack = UnitStack(ResidualUnit(WIDTH, dtype=policy, **unit), count, **form)
    stack.build((None, None, None, WIDTH))
    return randomize(stack)


def gradient_step(stack, training):
    """A function of x: outputs, gradients to x and to every weight."""

    def step(x):
        sources = [x, *(v.value for v in stack.trainable_variables)]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            y = stack(x, training=training)
            wide = y.dtype if y.dtype == tf.float64 else tf.float32
            loss = tf.reduce_sum(tf.cast(y, wide) * normal(*y.shape[1:], seed=9, dtype=wide))
        return [y, *tape.gradient(loss, sources)]

    return step


def run(stack, training=True, graph=True, batch_size=None):
    """What `gradient_step` gives, and the statistics that it leaves; the graph may know the size of the batch."""
    dtype = "float64" if stack.compute_dtype == "float64" else "float32"
    before = [numpy(v) for v in stack.non_trainable_weights]
    step = gradient_step(stack, training)
    if graph:
        step = tf.function(step, input_signature=[tf.TensorSpec([batch_size, 6, 6, WIDTH], dtype)])
    outputs = [numpy(v) for v in step(normal(4, 6, 6, WIDTH, dtype=dtype))]
    after = [numpy(v) for v in stack.non_trainable_weights]
    assert all(((a != b).all() if training else (a == b).all()) for a, b in zip(after, before, strict=True))
    return outputs + after


def results(unit, form, policy="float32", training=True, graph=True, batch_size=None, count=COUNT):
    """Those of a new stack."""
    return run(new_stack(unit, form, policy, count), training, graph, batch_size)
