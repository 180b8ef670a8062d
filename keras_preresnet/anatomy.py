"""Reading a built net: its stages by the names of its layers, and what makes it the net it is."""

import itertools

import keras

from keras_preresnet.shortcuts import SHORTCUTS

CLASSIFIER = "predictions"
UNLIKE_FUNCTIONS = ("scale", "residual_scale", "rate")  # The other options say how training begins.


def stages(model: keras.Model) -> list[str]:
    """Returns ["stage1", "stage2", ...].

    Raises:
        ValueError: if the model is no net of this package: it has no stem or no stage.
    """
    names = {layer.name for layer in model.layers}
    found = list(
        itertools.takewhile(lambda stage: f"{stage}_unit1" in names, map("stage{}".format, itertools.count(1)))
    )
    if "stem_conv" not in names or not found:
        raise ValueError(
            f"{model.name} has no stem and stages: a net of keras_preresnet is needed; where it is inside of another "
            "model, give the one inside."
        )
    return found


def stage_output(model: keras.Model, stage: str) -> keras.KerasTensor:
    """Returns x_L, what the last unit of the stage gives: `(batch, height, width, width of the stage)`."""
    return stage_layers(model, stage)[-1].output


def has_layer(model: keras.Model, name: str) -> bool:
    """Whether the model itself, and not a model inside, has a layer of this name."""
    return any(layer.name == name for layer in model.layers)


def last_layer(model: keras.Model) -> keras.layers.Layer | None:
    """Returns the layer that the model's one output comes from, wherever it lies; None if there are more outputs."""
    if len(model.outputs) != 1:
        return None
    layer = model.outputs[0]._keras_history.operation
    return last_layer(layer) if getattr(layer, "outputs", None) else layer  # A model of functions, not of a class.


def last_activation(model: keras.Model) -> object:
    """Returns what that layer does to its scores, `keras.activations.softmax` for example, or None."""
    layer = last_layer(model)
    return keras.activations.softmax if isinstance(layer, keras.layers.Softmax) else getattr(layer, "activation", None)


def describe_net(model: keras.Model) -> dict:
    """Returns what makes the net: family, units, widths, stem, branch, design, shortcut and widening.

    That is all that its function depends on besides its weights. How it runs (`unroll`, `remat`, `dtype`), its input
    size and its head are no part of it. Two nets of equal descriptions differ in the stem's channels and the head.

    Raises:
        ValueError: if the model is no net of this package.
    """
    parts = [stage_layers(model, stage) for stage in stages(model)]
    unit = parts[0][0]
    options = [name for name in SHORTCUTS[unit.shortcut].options if name in UNLIKE_FUNCTIONS]
    return {
        "family": "imagenet" if has_layer(model, "stem_pool") else "cifar",
        "units": tuple(1 + sum(stack.count for stack in layers[1:]) for layers in parts),
        "widths": tuple(layers[0].filters for layers in parts),
        "stem_width": model.get_layer("stem_conv").filters,
        "branch": unit.branch,
        "design": unit.design,
        "shortcut": unit.shortcut,
        "shortcut_options": {name: getattr(unit.shortcut_layer, name) for name in options},
        "widening": None if SHORTCUTS[unit.shortcut].replaces_widening else unit.widening,
        "stride_place": unit.stride_place if unit.branch == "bottleneck" else None,
    }


def differences(here: dict, there: dict) -> list[str]:
    """Returns what differs between two descriptions, both sides named."""
    return [f"{key}={here[key]!r} here, {there[key]!r} there" for key in here if here[key] != there[key]]


def stage_layers(model: keras.Model, stage: str) -> list[keras.layers.Layer]:
    """Returns the first unit of a stage, and the stack of all further ones where there are any."""
    names = [name for name in (f"{stage}_unit1", f"{stage}_units") if has_layer(model, name)]
    return [model.get_layer(name) for name in names]
