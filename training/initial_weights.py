"""What a fine-tuning starts from: trained weights, the preprocessing that goes with them, a new classifier."""

import dataclasses
from pathlib import Path

import keras

from keras_preresnet import create_model, model_class_names, model_preprocessing, reset_classifier, weights_info
from keras_preresnet.keras_files import load_keras_file
from keras_preresnet.weights import read_arrays
from training.data import ImageData
from training.errors import UserError, user_errors
from training.files import read_json
from training.packaged import packaged_pair


def start_from(source: str, name: str, options: dict, data: ImageData) -> tuple[keras.Model, ImageData]:
    """Builds a net with trained weights for the classes of the data.

    Args:
        source: The name of packaged weights ("cifar10", or with their net "PreResNet20:cifar10"), the path of a
            `.keras` or `.weights.h5` file, or a run folder.
        name: Of the net.
        options: Of `create_model`, without the classes.
        data: To train on.

    Returns:
        The net, whose classifier is new unless the weights carry the class names of the data; and the data with the
        preprocessing that the weights were trained with, where they carry one.

    Raises:
        UserError: if there is no such file, or the weights are damaged or of another net.
        ValueError: if the net is refused, whatever its weights.
    """
    weights = _found(source, name)
    try:
        model = create_model(name, weights=weights, classes=_classes(weights), **options)
    except ValueError as error:
        argument = f"weights={weights!r} "
        if not str(error).startswith(argument):
            raise
        raise UserError(f"--init_from={source} {str(error).removeprefix(argument)}") from error
    try:
        data = dataclasses.replace(data, known_preprocessing=model_preprocessing(model))
    except ValueError:  # A .weights.h5 file carries none, nor does a net that was never given one.
        print(f"{source} carries no preprocessing: that of {data.name} is used")
    if _class_names(model) == data.class_names:
        print(f"starting from {source}, its classifier included")
        return model, data
    print(f"starting from {source}; the classifier is new, for the {len(data.class_names)} classes of {data.name}")
    return reset_classifier(model, len(data.class_names), class_names=data.class_names), data


def named_net(source: str | None) -> str | None:
    """Returns the net that `source` names, "PreResNet56" of "PreResNet56:cifar10" or of a run folder; None if none."""
    if source is None:
        return None
    record = read_json(Path(source) / "run.json", keys=("settings",))
    if record:
        return record["settings"].get("model")
    pair = packaged_pair(source)
    return pair and pair[0]


def _found(source, name):
    path = Path(source)
    if path.is_dir():
        path = path / "model.keras"
        if not path.exists():
            raise UserError(f"--init_from={source} is refused: the folder holds no finished run (no model.keras).")
    elif (path.suffix or len(path.parts) > 1) and not path.exists():
        raise UserError(
            f"--init_from={source} is refused: there is no such file or run folder; packaged weights are named as "
            "PreResNet20:cifar10."
        )
    if path.exists():
        return str(path)
    pair = packaged_pair(source)
    if pair is None:
        return source
    with user_errors(ValueError):
        row = weights_info(*pair)
    if row.model.lower() != name.lower():
        raise UserError(f"--init_from={source} is refused with --model={name}; give --model={row.model}.")
    return row.weights


def _classes(weights):
    """Of the classifier that the weights have; None for packaged ones, that fit theirs themselves."""
    if weights.endswith(".weights.h5"):
        bias = read_arrays(weights).get("predictions/1")
        return None if bias is None else len(bias)
    if weights.endswith(".keras"):
        return load_keras_file(weights).output_shape[-1]
    rows = weights_info(weights=weights)
    return len(rows[0].class_names) if rows else None


def _class_names(model):
    try:
        return model_class_names(model)
    except ValueError:  # It carries none.
        return None
