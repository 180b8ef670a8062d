"""Nets for new data: another classifier, frozen stages, the features of each stage.

Whatever is made of a net here is a net of its own, with copies of its layers and weights: the given one stays as it
is. New nets are not compiled; they carry the preprocessing of the one they come from, and keep what is frozen in it.
"""

import re
import warnings
from collections.abc import Sequence

import keras

from keras_preresnet.activations import DESIGNS, activation_layer
from keras_preresnet.anatomy import has_layer, stage_output, stages
from keras_preresnet.metadata import ImageInput, copy_of_input, set_class_names
from keras_preresnet.networks import POOLING, classifier_layer, wide_dtype
from keras_preresnet.validation import require_choice, require_positive_integer

END = "head"  # The last part of a body: the head's activation, which only pre-activation designs have.


def reset_classifier(
    model: keras.Model,
    classes: int,
    classifier_activation: str | None = None,
    class_names: Sequence[str] | None = None,
) -> keras.Model:
    """Returns a net with a copy of the model's body, and a new, random classifier.

    Args:
        model: A net of this package, with a classifier or without.
        classes: How many outputs the new classifier has, at least 1.
        classifier_activation: None for logits, or for example "softmax".
        class_names: One for each class, to be carried by the new net.

    Raises:
        ValueError: if the model is no net of this package, or the names are not as many as the classes.
    """
    require_positive_integer("classes", classes)
    body = embeddings(model)
    dtype = wide_dtype(body.get_layer("stem_conv").dtype_policy)
    outputs = classifier_layer(classes, classifier_activation, dtype)(body.output)
    net = keras.Model(body.input, outputs, name=model.name)
    if class_names is not None:
        set_class_names(net, class_names)
    return net


def embeddings(model: keras.Model) -> keras.Model:
    """Returns a net from images to what the classifier reads: `(batch, width)`, the mean of the last activated feature.

    In float32 whatever the policy (float64 under a float64 policy). A net without classifier that takes the maximum
    goes on doing so. Whatever follows the pooling is left out.

    Raises:
        ValueError: if the model is no net of this package.
    """
    last = [f"{stages(model)[-1]}_{part}" for part in ("unit1", "units")]
    body = [name for name in (*last, f"{END}_activation", "avg_pool", "max_pool") if has_layer(model, name)]
    copy = _copy(model, model.get_layer(body[-1]).output)
    outputs = copy.output if body[-1].endswith("_pool") else _pool(copy.output, "avg", "avg_pool")
    return keras.Model(copy.input, outputs, name=model.name)


def features(model: keras.Model, names: str | Sequence[str] | None = None, pooling: str | None = None) -> keras.Model:
    """Returns a net from images to a dict of features: "stage1" and "stage1_raw", and so on for each stage asked for.

    "stage1_raw" is x_L, what the last unit of the stage gives. "stage1" is that feature activated, as the next unit
    reads it on its residual path: through the pre-activation of the next stage's first unit, or for the last stage
    the head's. Units of post-activation designs activate x_L themselves, or not at all (`relu_before_addition`), and
    no layer follows: there both are the same. Both are `(batch, height, width, width of the stage)` in the policy's
    compute dtype. Stages above the last one asked for are left out.

    Args:
        model: A net of this package, with a classifier or without.
        names: "stage1", "stage2", ..., one or several; None for all.
        pooling: "avg" or "max" for `(batch, width)` in float32.

    Raises:
        ValueError: if the model is no net of this package, or has no such stage.
    """
    known = stages(model)
    names = known if names is None else [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError(f"names={names} is refused: at least one of {', '.join(known)} is needed.")
    for name in names:
        require_choice("stage", name, known)
    require_choice("pooling", pooling, POOLING)
    copy = _copy(model, {name: stage_output(model, name) for name in names})
    outputs = {}
    for name in names:
        raw = copy.output[name]
        outputs |= {name: _activated(raw, model, name), f"{name}_raw": raw}
    if pooling is not None:
        outputs = {name: _pool(feature, pooling, f"{name}_{pooling}_pool") for name, feature in outputs.items()}
    return keras.Model(copy.input, outputs, name=model.name)


def freeze(model: keras.Model, until: str | None = None) -> None:
    """Freezes the net from its images up to a stage, that stage included; what is frozen already stays so.

    Frozen batch norm runs on its moving statistics and leaves them alone. The classifier is never frozen. Keras goes
    on training, silently, what is frozen after `compile`: so a compiled model is made uncompiled, and `fit` refuses it
    until `compile` is called again. A compiled model *around* this one is not known here: compile it again yourself.

    Args:
        model: A net of this package, or a model that continues one (`keras.Model(net.input, ...)`).
        until: "stem", "stage1", "stage2", ..., or None for the whole body.

    Warns:
        UserWarning: if the model was compiled.

    Raises:
        ValueError: if the model is no net of this package, or has no such stage.
    """
    parts = ["stem", *stages(model), END]
    until = END if until is None else until
    require_choice("until", until, parts)
    _set_trainable(model, parts[: parts.index(until) + 1], False)


def unfreeze(model: keras.Model, since: str | None = None) -> None:
    """Frees the net from a stage, that stage included, up to its end; what comes before stays as it is.

    Args:
        model: As for `freeze`, which says what becomes of a compiled model.
        since: "stem", "stage1", ..., or None for the whole net.

    Warns:
        UserWarning: if the model was compiled.

    Raises:
        ValueError: if the model is no net of this package, or has no such stage.
    """
    parts = ["stem", *stages(model), END]
    since = parts[0] if since is None else since
    require_choice("since", since, parts)
    _set_trainable(model, parts[parts.index(since) :], True)


def _set_trainable(model, parts, trainable):
    """Sets the layers of these parts, and to free them everything that follows the body."""
    before = [layer.trainable for layer in model.layers]
    if trainable and not model.trainable:  # A model that is frozen as a whole trains no layer.
        model.trainable = True
        for layer, was in zip(model.layers, before, strict=True):
            layer.trainable = was
    for layer in model.layers:
        part = re.match(r"stem|stage\d+|head_activation", layer.name)
        if part[0].removesuffix("_activation") in parts if part else trainable:
            layer.trainable = trainable
    if [layer.trainable for layer in model.layers] != before and model.compiled:
        model.compiled = False
        warnings.warn(
            f"{model.name} was compiled before its layers were {'freed' if trainable else 'frozen'}, and would be "
            "trained as it was: it is no longer compiled, call model.compile(...) again, with a new optimizer.",
            stacklevel=3,
        )


def _copy(model, outputs):
    """A net of its own from the model's input to some of its tensors."""
    part = keras.Model(model.input, outputs, name=model.name)
    copy = keras.models.clone_model(part, input_tensors=copy_of_input(model))
    copy.set_weights(part.get_weights())
    for layer in copy.layers:
        if isinstance(layer, ImageInput):
            layer.class_names = layer.classifier = None  # Those of the classifier, which is left behind.
    return copy


def _activated(raw, model, stage):
    """x_L through a copy of the activation that the model applies to it next."""
    following = f"stage{int(stage.removeprefix('stage')) + 1}_unit1"
    unit = model.get_layer(f"{stage}_unit1")
    kind = DESIGNS[unit.design].before_first_conv
    if kind is None:
        return raw
    source = (
        model.get_layer(following).preactivation
        if has_layer(model, following)
        else model.get_layer(f"{END}_activation")
    )
    layer = activation_layer(kind, f"{stage}_activation", unit.dtype_policy)
    outputs = layer(raw)
    layer.set_weights(source.get_weights())
    layer.trainable = source.trainable
    return outputs


def _pool(feature, pooling, name):
    return POOLING[pooling](name=name, dtype=wide_dtype(feature.dtype))(feature)
