"""A built net as a server runs it: fewer operations than it was trained with, and weights that are constants.

    convolution, BN         one convolution with a bias
    BN on its own           one 1x1 depthwise convolution with a bias
    convolution without BN  the same with a bias of almost nothing
    zero padding shortcut   one 1x1 convolution whose kernel is the identity

TensorFlow fuses a convolution with its bias and the ReLU after it into one operation, and prepares a constant kernel
once instead of at every call.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_preresnet.activations import FusedBatchNormalization
from keras_preresnet.metadata import copy_of_input
from keras_preresnet.shortcuts import ConvolutionShortcut, Projection, ZeroPadding
from keras_preresnet.stacks import UnitStack
from keras_preresnet.units import ResidualUnit

# TensorFlow's optimizer drops a bias of zeros and leaves a plain convolution, which runs slower than a fused one.
ALMOST_NOTHING = 1e-30


def folded_copy(model: keras.Model) -> keras.Model:
    """Returns the same net for inference alone, with the same layer names, every weight a constant of its graph.

    Its logits differ from those of `model` by rounding. It has no weights, cannot be trained, and is not for saving.

    Args:
        model: A functional model that computes in float32 or mixed_bfloat16: so does the copy.

    Raises:
        ValueError: for another policy: in float16 the bias of almost nothing would be nothing.
    """
    if "float16" in {layer.compute_dtype for layer in model.layers}:
        raise ValueError("A net that computes in float16 is refused: float32 or bfloat16 is needed.")
    norms = _norms_after_convolutions(model)
    merged = {norm.name for norm in norms.values()}

    def fold(layer):
        """A layer with what it takes in, or nothing in the place of a batch norm that another has taken in."""
        if isinstance(layer, keras.Model):
            return folded_copy(layer)
        chain = [] if layer.name in merged else [layer, norms.get(layer.name)]
        return _Folded(folded_chain(chain), layer.name, layer.dtype_policy)

    return keras.models.clone_model(model, clone_function=fold, input_tensors=copy_of_input(model))


def folded_chain(layers: Sequence[keras.layers.Layer | None]) -> list[Callable]:
    """Returns functions that do, one after another, what these layers do one after another; None does nothing."""
    layers = [layer for layer in layers if layer is not None and not isinstance(layer, keras.layers.Identity)]
    functions = []
    for before, layer, after in zip([None, *layers], layers, [*layers[1:], None], strict=False):
        if isinstance(layer, UnitStack):
            functions.extend(map(_Unit, layer.units()))
        elif isinstance(layer, ResidualUnit):
            functions.append(_Unit(layer))
        elif _is_plain_convolution(layer):
            functions.append(_convolution(layer, after if isinstance(after, FusedBatchNormalization) else None))
        elif not isinstance(layer, FusedBatchNormalization):
            functions.append(_with_constants(layer))
        elif not _is_plain_convolution(before):
            functions.append(_normalization(layer))
    return functions


class _Folded(keras.layers.Layer):
    """Functions without weights of their own, one after another."""

    def __init__(self, functions, name, policy):
        super().__init__(name=name, dtype=policy)
        self.functions = tuple(functions)

    def call(self, x):
        for function in self.functions:
            x = function(x)
        return x


class _Unit:
    """A residual unit's own `call` on folded parts."""

    __call__ = ResidualUnit.call
    parts = ResidualUnit.parts
    _branch_names = ("branch",)

    def __init__(self, unit: ResidualUnit):
        self.widens = unit.widens
        self.preactivation = _one_after_another([unit.preactivation])
        self.shortcut_layer = _shortcut_part(unit.shortcut_layer)
        self.widening_layer = _shortcut_part(unit.widening_layer)
        self.branch = _one_after_another([getattr(unit, name) for name in unit._branch_names])
        self.postactivation = _one_after_another([unit.postactivation])


def _one_after_another(layers):
    functions = folded_chain(layers)

    def run(x):
        for function in functions:
            x = function(x)
        return x

    return run


def _shortcut_part(part):
    if isinstance(part, ZeroPadding):
        return lambda x: _convolve(x, np.eye(x.shape[-1], part.filters)[None, None], ALMOST_NOTHING, part.strides)
    if isinstance(part, Projection):
        project = _one_after_another([part.conv, part.norm])
        return (lambda x, widened: (project(x), None, None)) if isinstance(part, ConvolutionShortcut) else project
    return _with_constants(part)


def _convolution(layer, norm):
    kernel = np.float64(layer.kernel)
    bias = np.float64(layer.bias) if layer.use_bias else np.zeros(layer.filters)
    if norm is not None:
        scale, offset = _scale_and_offset(norm)
        kernel, bias = kernel * scale, bias * scale + offset
    bias = np.where(bias == 0, ALMOST_NOTHING, bias)
    relu = norm is not None and norm.relu
    settings = {"dilations": layer.dilation_rate, "padding": layer.padding.upper()}
    return lambda x: _convolve(x, kernel, bias, layer.strides, relu, **settings)


def _normalization(norm):
    """As a depthwise convolution, "SAME": only then does TensorFlow fuse the addition after it into a convolution."""
    scale, offset = _scale_and_offset(norm)
    return lambda x: _convolve(x, scale[None, None, :, None], offset, relu=norm.relu, padding="SAME", depthwise=True)


def _scale_and_offset(norm):
    """BN at inference is `scale * x + offset`."""
    gamma, beta, mean, variance = map(np.float64, (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance))
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale


def _convolve(x, kernel, bias, strides=1, relu=False, padding="VALID", dilations=1, depthwise=False):
    kernel = tf.constant(kernel, x.dtype)
    if depthwise:
        y = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], padding)
    else:
        y = tf.nn.conv2d(x, kernel, strides, padding, dilations=dilations)
    y = tf.nn.bias_add(y, tf.constant(bias, x.dtype, [y.shape[-1]]))
    return tf.nn.relu(y) if relu else y


def _with_constants(layer):
    values = [(variable, np.array(variable)) for variable in layer.variables]

    def run(*inputs):
        with keras.StatelessScope([(variable, tf.constant(value)) for variable, value in values]):
            return layer(*inputs)

    return run


def _is_plain_convolution(layer):
    return isinstance(layer, keras.layers.Conv2D) and layer.activation is keras.activations.linear


def _norms_after_convolutions(model):
    """By the name of a convolution the batch norm that alone reads it."""
    readers = {}
    for layer in model.layers:
        for node in layer._inbound_nodes:
            for tensor in node.input_tensors:
                readers.setdefault(tensor._keras_history.operation.name, []).append(layer)
    outputs = {tensor._keras_history.operation.name for tensor in model.outputs}
    return {
        layer.name: readers[layer.name][0]
        for layer in model.layers
        if _is_plain_convolution(layer)
        and layer.name not in outputs
        and [type(reader) for reader in readers.get(layer.name, [])] == [FusedBatchNormalization]
    }
