"""A batch on its way through a net, unit by unit: every x_l, h(x_l), F(x_l) and dE/dx_l, of the net as it is.

Units of a stack run one by one on their rows of the stacked weights; nothing is rebuilt by hand, and no weight or
statistic of the net changes. In memory are the x_l alone: whatever else is needed is computed again.
"""

from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_preresnet.anatomy import CLASSIFIER, has_layer, stage_layers, stages
from keras_preresnet.stacks import UnitStack, UnitTemplate
from keras_preresnet.units import BRANCHES, UnitParts

SMALL = 2.0**-96


class Gradients(NamedTuple):
    """What the backward pass knows of a unit; tensors of float64, in which no gradient under- or overflows."""

    at_input: tf.Tensor  # dE/dx_l
    at_output: tf.Tensor  # dE/dx_{l+1}
    branch: tf.Tensor  # v_l: the vector-Jacobian product of F(x_l) alone with dE/dx_{l+1}
    factor: tf.Tensor | None  # λ_l, see `UnitParts`


class UnitFunctions:
    """What is asked of a unit, each question compiled once for all units that are alike, and for one batch size."""

    def __init__(self, template: UnitTemplate, batch_statistics: bool):
        self.template = template
        self.batch_statistics = batch_statistics
        self._compiled = {}

    def __call__(self, question: str, *arguments: tf.Tensor | list | None) -> tuple:
        """Returns what the method `question` returns, by a compiled graph."""
        if question not in self._compiled:
            function = tf.function(getattr(self, question), autograph=False)
            self._compiled[question] = function.get_concrete_function(*arguments)
        return self._compiled[question](*arguments)

    def parts(self, x, weights, seed):
        """Returns `UnitParts`."""
        return self.template.parts(x, weights, seed, self.batch_statistics)

    def output(self, x, weights, seed):
        """Returns x_{l+1} by the unit's ordinary call."""
        return self.template(x, weights, seed, self.batch_statistics)[0]

    def pull_back(self, x, weights, seed, gradient):
        """Returns the vector-Jacobian products of the whole unit and of its branch alone, and the factor."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            parts = self.template.parts(x, weights, seed, self.batch_statistics)
        whole, branch = (
            tape.gradient(y, x, gradient, unconnected_gradients="zero") for y in (parts.output, parts.residual)
        )
        return whole, branch, parts.factor


class Unit(NamedTuple):
    """A unit of a net, with its weights."""

    position: int  # In the net, from 0.
    stage: int  # From 1.
    number: int  # In its stage, from 1.
    functions: UnitFunctions
    weights: list[tf.Tensor]
    seed: tf.Tensor | None  # Of what its shortcut draws.

    @property
    def widens(self) -> bool:
        """Whether it changes width or size: the equations hold between units that do not."""
        return self.functions.template.unit.widens

    def parts(self, x: tf.Tensor) -> UnitParts:
        """Returns h(x), F(x), λ, the output and what each ReLU gives."""
        return self.functions("parts", x, self.weights, self.seed)

    def pull_back(self, x: tf.Tensor, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Returns dE/dx_l and v_l for dE/dx_{l+1}, and λ_l."""
        return self.functions("pull_back", x, self.weights, self.seed, gradient)

    def without_residual(self) -> "Unit":
        """Returns the unit with F = 0: zero are its last convolution, and shift and mean of a batch norm after it."""
        last = len(BRANCHES[self.functions.template.unit.branch])
        zeroed = {f"conv{last}_kernel", f"norm{last}_beta", f"norm{last}_moving_mean"}
        names = self.functions.template.weights
        weights = [tf.zeros_like(w) if name in zeroed else w for name, w in zip(names, self.weights, strict=True)]
        return self._replace(weights=weights)


class Signals:
    """One batch going through one net, forward and backward.

    E is the mean cross-entropy of the batch.

    Args:
        model: A net of this package with a classifier. It is used as it is: in float32, for digits to be trusted.
        images: Preprocessed, `(batch, height, width, channels)`.
        labels: Class numbers, `(batch,)`.
        batch_statistics: Whether batch norm uses the statistics of the batch, as in training, without moving the
            moving ones; on its fresh moving statistics an untrained deep net overflows. Dropout then drops. Else the
            net is at inference.
        seed: Of what dropout shortcuts draw: the same in both directions.

    Raises:
        ValueError: if the model is no net of this package, or has no classifier.
    """

    def __init__(
        self, model: keras.Model, images: tf.Tensor, labels: tf.Tensor, batch_statistics: bool = True, seed: int = 0
    ):
        known = stages(model)
        if not has_layer(model, CLASSIFIER):
            raise ValueError(f"{model.name} has no classifier, so that there is no E: build it with include_top=True.")
        self._training = bool(batch_statistics)
        first, last = stage_layers(model, known[0])[0], stage_layers(model, known[-1])[-1]
        self._stem = keras.Model(model.input, first.input)
        self._head = keras.Model(last.output, model.output)
        self._from_logits = model.get_layer(CLASSIFIER).activation is keras.activations.linear
        self.labels = tf.convert_to_tensor(labels)
        self.units = list(_units(model, self._training, seed))
        with keras.StatelessScope():  # Statistics that would move are forgotten.
            x = self._stem(tf.convert_to_tensor(images), training=self._training)
        self.inputs = [x]  # x_1; `forward` adds all others, and what the last unit gives.

    def forward(self) -> Iterator[tuple[Unit, tf.Tensor, UnitParts]]:
        """Yields each unit with x_l and its parts, from the first unit to the last."""
        del self.inputs[1:]
        for unit in self.units:
            x = self.inputs[-1]
            parts = unit.parts(x)
            self.inputs.append(parts.output)
            yield unit, x, parts

    def loss(self, x: tf.Tensor) -> tf.Tensor:
        """Returns E of what the last unit gives."""
        with keras.StatelessScope():
            outputs = self._head(x, training=self._training)
        each = keras.losses.sparse_categorical_crossentropy(self.labels, outputs, from_logits=self._from_logits)
        return tf.reduce_mean(each)

    def backward(self) -> Iterator[tuple[Unit, Gradients]]:
        """Yields each unit with its gradients, from the last unit to the first; after `forward` has gone through."""
        if len(self.inputs) <= len(self.units):
            raise ValueError("backward() comes after forward() has gone through all units.")
        with tf.GradientTape() as tape:
            tape.watch(self.inputs[-1])
            loss = self.loss(self.inputs[-1])
        gradient, exponent = _normalized(tape.gradient(loss, self.inputs[-1]), 0)
        for unit, x in zip(reversed(self.units), reversed(self.inputs[:-1]), strict=True):
            at_input, branch, factor = unit.pull_back(x, gradient)
            scaled = [tf.cast(g, tf.float64) * 2.0**exponent for g in (at_input, gradient, branch)]
            yield unit, Gradients(*scaled, factor)
            gradient, exponent = _normalized(at_input, exponent)

    def tape_gradients(self) -> list[tf.Tensor]:
        """Returns dE/dx_l of all units by one ordinary tape through the whole net, which keeps every activation.

        Where that overflows, E is made smaller by a power of two and the gradients larger again, in float64. A net
        whose gradient spans more than float32 does leaves infinities or NaN.
        """
        gradients = self._taped(1.0)
        if _all_finite(gradients):
            return gradients
        return [tf.cast(gradient, tf.float64) / SMALL for gradient in self._taped(SMALL)]

    def _taped(self, scale):
        x, inputs = self.inputs[0], []
        with tf.GradientTape() as tape:
            for unit in self.units:
                tape.watch(x)
                inputs.append(x)
                x = unit.functions("output", x, unit.weights, unit.seed)
            loss = self.loss(x) * scale
        return tape.gradient(loss, inputs)


def _units(model, training, seed):
    """Those of a first unit and of a stack alike: a template and rows of weights."""
    position = 0
    for stage, name in enumerate(stages(model), start=1):
        number = 0
        for layer in stage_layers(model, name):
            stacked = isinstance(layer, UnitStack)
            template = UnitTemplate(layer.template if stacked else layer)
            template.build(layer.input.shape)
            functions = UnitFunctions(template, training)
            for unit in layer.units() if stacked else [layer]:
                number += 1
                weights = [tf.convert_to_tensor(weight) for weight in unit.weights]
                drawn = tf.constant([seed, position], template.seeds[0].dtype) if template.seeds else None
                yield Unit(position, stage, number, functions, weights, drawn)
                position += 1


def _normalized(gradient, exponent):
    """The gradient times a power of two that brings it near 1, and the exponent of two that it then lacks."""
    largest = float(tf.reduce_max(tf.abs(gradient)))
    if not np.isfinite(largest) or largest == 0:
        return gradient, exponent
    power = int(np.floor(np.log2(largest)))
    # In two steps, for 2**-power alone may be beyond float32.
    half = power // 2
    return gradient * 2.0**-half * 2.0 ** (half - power), exponent + power


def _all_finite(tensors):
    return all(bool(tf.reduce_all(tf.math.is_finite(tensor))) for tensor in tensors)
