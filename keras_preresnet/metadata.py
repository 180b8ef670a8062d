"""What a net carries besides its weights: the preprocessing that its input needs, and the names of its classes.

Both are settings of the net's input layer. So the net stays a plain `keras.Model`, and they go wherever that layer
goes: through `.keras` files, into every `keras.Model(net.input, ...)`, and into a model that has the net inside. Only
`keras.models.clone_model` leaves them behind, which makes a plain input of its own.
"""

import warnings
from collections.abc import Sequence

import keras
import numpy as np

from keras_preresnet.anatomy import last_activation, last_layer
from keras_preresnet.preprocessing import Preprocessing
from keras_preresnet.register import packaged, rows_named


@keras.saving.register_keras_serializable(package="keras_preresnet")
class ImageInput(keras.layers.InputLayer):
    """An input of images, `(batch, height, width, channels)`, that knows which preprocessing they need.

    Args:
        preprocessing: What images of 0 to 255 go through ahead of the net, a `Preprocessing` or its dict.
        class_names: One for each class, in the order of the outputs.
        classifier: Name of the layer whose outputs `class_names` names: in a net that ends in another they are void.
        **kwargs: Of `keras.layers.InputLayer`: `shape`, `name`, ...
    """

    def __init__(
        self,
        preprocessing: Preprocessing | dict | None = None,
        class_names: Sequence[str] | None = None,
        classifier: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if isinstance(preprocessing, dict):
            preprocessing = Preprocessing(**preprocessing)
        self.preprocessing = preprocessing
        self.class_names = None if class_names is None else tuple(map(str, class_names))
        self.classifier = classifier

    def get_config(self):
        """Returns the settings as JSON holds them, with which a file brings them back."""
        return {
            **super().get_config(),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_dict(),
            "class_names": None if self.class_names is None else list(self.class_names),
            "classifier": self.classifier,
        }


def set_preprocessing(
    model: keras.Model, preprocessing: Preprocessing, class_names: Sequence[str] | None = None
) -> None:
    """Makes the net carry its preprocessing, and the names of its classes; both are saved with it.

    Args:
        model: A net of this package, or a model on an `ImageInput`.
        preprocessing: What images of 0 to 255 go through ahead of the net.
        class_names: One for each output, in their order. None leaves the names as they are.

    Raises:
        ValueError: if the model has no `ImageInput`, or the channels or the classes are not as many as the model's.
    """
    carrier = _carrier(model)
    if not isinstance(preprocessing, Preprocessing):
        raise ValueError(f"preprocessing={preprocessing!r} is refused: a keras_preresnet.Preprocessing is needed.")
    channels = carrier.batch_shape[-1]
    if len(preprocessing.mean) != channels:
        raise ValueError(f"A preprocessing of {len(preprocessing.mean)} channels is refused: the net has {channels}.")
    if class_names is not None:
        set_class_names(model, class_names)
    carrier.preprocessing = preprocessing


def set_class_names(model: keras.Model, class_names: Sequence[str]) -> None:
    """Makes the net carry the names of its classes, one for each output, whether it carries a preprocessing or not.

    Raises:
        ValueError: if the model has no `ImageInput`, or the names are not as many as the classes.
    """
    carrier = _carrier(model)
    require_one_name_a_class(model, class_names)
    carrier.class_names = tuple(map(str, class_names))
    carrier.classifier = _classifier(model)


def require_one_name_a_class(model: keras.Model, class_names: Sequence[str]) -> None:
    """Raises ValueError unless the names are as many as the net's outputs."""
    if len(class_names) != model.output_shape[-1]:
        raise ValueError(f"{len(class_names)} class names for a net of {model.output_shape[-1]} classes are refused.")


def model_preprocessing(model: keras.Model) -> Preprocessing:
    """Returns the preprocessing that the net carries: a packaged one's, or what it was fine-tuned and saved with.

    Raises:
        ValueError: if it carries none.
    """
    for carrier in _carriers(model):
        if carrier.preprocessing is not None:
            return carrier.preprocessing
    raise ValueError(
        f"{model.name} carries no preprocessing: set_preprocessing(model, Preprocessing(...)) gives it one."
    )


def model_class_names(model: keras.Model) -> tuple[str, ...]:
    """Returns the names of the net's classes in the order of its outputs.

    Raises:
        ValueError: if it carries none, or those of another classifier than its own.
    """
    for carrier in _carriers(model):
        names = carrier.class_names
        if names is not None and carrier.classifier == _classifier(model) and len(names) == model.output_shape[-1]:
            return names
    raise ValueError(
        f"{model.name} carries no class names: set_preprocessing(model, preprocessing, class_names) gives it some."
    )


def decode_predictions(
    predictions: np.ndarray,
    top: int = 5,
    *,
    weights: str | None = None,
    model: keras.Model | None = None,
    class_names: Sequence[str] | None = None,
    from_logits: bool | None = None,
) -> list[list[tuple[int, str, float]]]:
    """Returns for each image its likeliest classes as (class_id, name, probability), the likeliest first.

    Args:
        predictions: Logits, as the nets give them, or probabilities, `(batch, classes)`.
        top: How many classes of each image, at least 1; no more than there are.
        weights: The names are those of packaged weights,
        model: or those that this net carries,
        class_names: or these. Exactly one of the three is needed.
        from_logits: False for probabilities, those of a net built with `classifier_activation="softmax"`. Default:
            probabilities where a `model` ends in a softmax layer or activation, else logits.

    Warns:
        UserWarning: if what is taken for logits by default looks like probabilities.

    Raises:
        ValueError: if the predictions are not one for each class, or not exactly one source of names is given.
    """
    names = _names(weights, model, class_names)
    scores = np.asarray(keras.ops.convert_to_numpy(predictions), dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(names):
        raise ValueError(f"predictions of shape {scores.shape} are refused: (batch, {len(names)}) is needed.")
    if not isinstance(top, int) or top < 1:
        raise ValueError(f"top={top!r} is refused: a whole number of at least 1 is needed.")
    if _are_logits(from_logits, model, scores):
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]  # Of equal ones the first class.
    return [[(int(k), names[k], float(row[k])) for k in best] for row, best in zip(scores, order, strict=True)]


def _are_logits(from_logits, model, scores):
    if from_logits is not None:
        return from_logits
    if model is not None and last_activation(model) is keras.activations.softmax:
        return False
    if scores.size and scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        warnings.warn(
            "The predictions are taken for logits and look like probabilities: give from_logits=False.", stacklevel=3
        )
    return True


def _names(weights, model, class_names):
    given = [source for source in (weights, model, class_names) if source is not None]
    if len(given) != 1:
        raise ValueError(
            f"{len(given)} sources of class names are refused, one is needed: weights= (there are {packaged()}), "
            "model= or class_names=."
        )
    if weights is not None:
        return rows_named(weights)[0].class_names
    return tuple(class_names) if model is None else model_class_names(model)


def copy_of_input(model: keras.Model) -> object:
    """Returns new symbolic inputs like the model's, which carry what the model's carry, for `clone_model`."""

    def copy(tensor):
        layer = tensor._keras_history.operation
        return type(layer).from_config(layer.get_config()).output

    return keras.tree.map_structure(copy, model.input)


def _classifier(model):
    """Name of the layer that the model's one output comes from."""
    layer = last_layer(model)
    return None if layer is None else layer.name


def _carrier(model):
    """The input that what the net is to carry is given to."""
    carriers = _carriers(model)
    if not carriers:
        raise ValueError(
            f"{model.name} can carry no preprocessing or class names: its input is a plain keras.Input; begin it with "
            "keras_preresnet.ImageInput(shape=...).output, or load its weights into a net of create_model."
        )
    return carriers[0]


def _carriers(model):
    """The inputs that can carry something, the model's own ahead of those of models in it."""
    own = [layer for layer in model.layers if isinstance(layer, ImageInput)]
    return own + [layer for layer in model._flatten_layers() if isinstance(layer, ImageInput) and layer not in own]
