"""Batch norm over the images of all replicas, for a whole net."""

from collections.abc import Iterator

import keras

from keras_preresnet.activations import FusedBatchNormalization
from keras_preresnet.stacks import UnitStack


def synchronize_batch_normalization(model: keras.Model) -> None:
    """Makes every `FusedBatchNormalization` of a built net take its statistics from all replicas together.

    The paper's own are those of each GPU. It concerns training under a `tf.distribute` strategy alone, and is not
    saved with the net.

    Raises:
        ValueError: if a stack runs as a loop or is rematerialised, in which TensorFlow refuses the reduction. The net
            then is as it was.
    """
    layers = list(_layers(model))
    for layer in layers:
        if isinstance(layer, UnitStack) and (layer.unroll is not True or layer.remat):
            raise ValueError(
                f"{layer.name} cannot synchronise its batch norm: build the net with unroll=True, no remat."
            )
    for layer in layers:
        if isinstance(layer, FusedBatchNormalization):
            layer.synchronized = True


def _layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yields every layer, those of the units that stacks hide from Keras included."""
    for part in layer._flatten_layers():
        yield part
        if isinstance(part, UnitStack):
            yield from _layers(part.template)
