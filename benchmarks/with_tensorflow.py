"""Steps of this package, of stock Keras layers and of keras.applications."""

import dataclasses
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contestants import APPLICATIONS, NETS, OURS, REPLICAS, TRAINING
from benchmarks.stock import stock_preresnet
from benchmarks.worker import Job, Prepared, share_of
from keras_preresnet import UnitStack, create_model
from keras_preresnet.folding import folded_copy
from training.devices import choose_strategy, usable_cores
from training.environment import describe_environment
from training.recipes import RECIPES
from training.step import TrainingStep

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def prepare(job: Job) -> Prepared:
    """Builds the net and traces the step; XLA compiles it if asked for, or if there is an accelerator."""
    strategy = choose_strategy("auto", usable_cores()) if job.setting == REPLICAS else choose_strategy("none")
    began = time.perf_counter()
    with strategy.scope():
        model = _model(job)
    constructed = time.perf_counter()
    net = NETS[job.net]
    images = np.random.default_rng(0).normal(size=(job.batch_size, net.image_size, net.image_size, 3))
    images = tf.constant(images, tf.float32)
    labels = tf.constant(np.random.default_rng(1).integers(0, net.classes, job.batch_size))
    compiles = job.setting == "XLA" or bool(tf.config.get_visible_devices("GPU"))
    if job.task == TRAINING:
        make = our_training_step if job.package == OURS else keras_training_step
        with strategy.scope():
            step = make(model, images, labels, compiles)
    else:
        step = inference_step(model, images, compiles)
    seconds = {"construction": constructed - began, "trace": time.perf_counter() - constructed}
    return Prepared(step, seconds, lambda: _facts(job, model))


def _facts(job, model):
    counted = job.package == OURS and job.setting != "folded"  # Which has operations, and no layers to be counted.
    work = {"multiply_adds": multiply_adds(model)} if counted else {}
    return {**describe_environment(), "threads": _threads(), **work}


def _model(job):
    net, policy = NETS[job.net], POLICIES[job.precision]
    if job.package == OURS:
        model = create_model(net.model, widening="projection", remat=job.setting == "remat", dtype=policy)
        return folded_copy(model) if job.setting == "folded" else model
    keras.config.set_dtype_policy(policy)
    if job.package == APPLICATIONS:
        model = keras.applications.ResNet50V2(weights=None, classifier_activation=None)
    else:
        model = stock_preresnet(net.depth, net.branch, net.family)
    keras.config.set_dtype_policy("float32")
    return model


def our_training_step(model: keras.Model, images: tf.Tensor, labels: tf.Tensor, compiles: bool) -> Callable[[], float]:
    """Returns the trainer's own step on one batch, of which each replica has its share; it returns the loss."""
    strategy = tf.distribute.get_strategy()
    share = share_of(len(labels), strategy.num_replicas_in_sync, bool(tf.config.get_visible_devices("GPU")))
    recipe = dataclasses.replace(RECIPES["paper_cifar"], batch_size=len(labels))
    training_step = TrainingStep(model, recipe, jit_compile=compiles, strategy=strategy)
    batch = images[:share], labels[:share], tf.ones([share])
    batches = strategy.distribute_datasets_from_function(lambda _: tf.data.Dataset.from_tensors(batch).repeat())
    arguments = iter(batches), tf.constant(1), tf.constant(0.0)
    training_step.__call__.get_concrete_function(*arguments)
    return lambda: float(training_step(*arguments)[0])


def keras_training_step(
    model: keras.Model, images: tf.Tensor, labels: tf.Tensor, compiles: bool
) -> Callable[[], float]:
    """Returns the same with Keras's own momentum SGD, and without weight decay: less work than the others have."""
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=compiles or None, autograph=False)
    def step():
        with tf.GradientTape() as tape:
            logits = tf.cast(model(images, training=True), tf.float32)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    step.get_concrete_function()
    return lambda: float(step())


def inference_step(model, images, compiles):
    """Logits of one batch."""

    @tf.function(jit_compile=compiles or None, autograph=False)
    def step(images):
        return model(images, training=False)

    step.get_concrete_function(images)
    return lambda: step(images).numpy()


def multiply_adds(model: keras.Model) -> int:
    """Returns the multiply-adds of the convolutions and matrix products that one image takes."""
    total = 0
    for layer in model.layers[1:]:  # The first is the input.
        stacked = isinstance(layer, UnitStack)
        total += (layer.count if stacked else 1) * _of_layer(layer.template if stacked else layer, layer.input)
    return total


def _of_layer(layer, inputs):
    spec = tf.TensorSpec([1, *inputs.shape[1:]], inputs.dtype)
    graph = tf.function(lambda x: layer(x, training=False), autograph=False).get_concrete_function(spec).graph
    total = 0
    for op in graph.get_operations():
        if op.type in ("Conv2D", "MatMul"):
            *inner, _ = op.inputs[1].shape
            total += int(np.prod(op.outputs[0].shape)) * int(np.prod(inner))
    return total


def _threads():
    threading = tf.config.threading
    named = {
        "intra_op": threading.get_intra_op_parallelism_threads,
        "inter_op": threading.get_inter_op_parallelism_threads,
    }
    return {name: read() or "default" for name, read in named.items()}
