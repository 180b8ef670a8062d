"""Loading weights: whole and into the net they were saved from, or not at all.

Arrays are matched by the name of their layer and their place in it, whatever file they come from. Packaged weights
alone are fitted to another head and another number of channels.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import ml_dtypes
import numpy as np

from keras_preresnet.anatomy import CLASSIFIER, describe_net, differences, has_layer
from keras_preresnet.keras_files import load_keras_file
from keras_preresnet.metadata import ImageInput, model_class_names, set_class_names, set_preprocessing
from keras_preresnet.preprocessing import Preprocessing
from keras_preresnet.register import PackagedWeights, packaged, require_whole, weights_info

FIRST_KERNEL = "stem_conv/0"
Arrays = dict[str, np.ndarray]


def load_weights(model: keras.Model, weights: str | Path) -> None:
    """Loads weights into the model, after holding their layout against the model's own: all of them, or none.

    Keras alone would match layers of one class by their order, and leave a net half loaded where it then fails.

    Args:
        model: Any model for a `.weights.h5` file, else a net of this package. A net without classifier leaves that of
            a file aside.
        weights: The path of a `.weights.h5` file; the path of a `.keras` file, of which no code is run and whose
            preprocessing and class names are taken over; or the name of packaged weights (see `weights_info`).
            Into a net with another number of classes or channels go packaged weights alone, and say so by a warning:
            the classifier stays new; the first kernel becomes its sum over the channels divided by the new number of
            channels, for each of them, so that a grey image gives what it gave as RGB of three equal channels, and
            the preprocessing has the mean over the channels.

    Raises:
        ValueError: if there are no such weights, they are damaged, or of another net; the model is as before.
    """
    name = str(weights)
    if name.endswith(".weights.h5"):
        if not Path(weights).is_file():
            raise ValueError(f"weights={name!r} is refused: there is no such file.")
        _load(model, read_arrays(weights), name)
    elif name.endswith(".keras"):
        _load_keras(model, name)
    else:
        _load_packaged(model, weights)


def read_arrays(path: str | Path) -> Arrays:
    """Returns the weights of a `.weights.h5` file by the name of their layer and their place in it.

    Raises:
        ValueError: if the file is damaged.
    """
    try:
        with h5py.File(path) as file:
            return {key: _decoded(file[place]) for key, place in _places(file).items()}
    except OSError as error:
        raise ValueError(
            f"weights={str(path)!r} is damaged or no weights file: {' '.join(str(error).split())}"
        ) from error


def _places(file):
    """Where each array lies in the file: Keras calls the groups by the classes of the layers, in their order."""
    found = {}

    def visit(name, entry):
        """Notes the place of an array under its layer's name."""
        # A net that was trained by `Model.fit` has saved its optimizer beside its layers.
        if isinstance(entry, h5py.Dataset) and name.startswith("layers/"):
            layer, *rest = name.removeprefix("layers/").split("/")
            group = entry.file.get(f"layers/{layer}/vars")
            layer = layer if group is None else group.attrs.get("name", layer)
            found["/".join([str(layer), *rest]).replace("/vars", "")] = name

    file.visititems(visit)
    return found


def _decoded(entry):
    """An array; Keras marks those of bfloat16, which the format does not know."""
    if entry.attrs.get("dtype") == "bfloat16":
        return np.array(entry, dtype=ml_dtypes.bfloat16).astype(np.float32)
    return np.array(entry)


def _load(model, arrays, source, fit: Callable[[Arrays, Arrays], Arrays] | None = None):
    """Puts the arrays in the place of the model's own in a file that the model itself has written, and reads that."""
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own.weights.h5"
        model.save_weights(own)
        here = read_arrays(own)
        if not has_layer(model, CLASSIFIER):
            arrays = _without_classifier(arrays)
        if fit is not None:
            arrays = fit(arrays, here)
        _require_same_layout(here, arrays, source)
        with h5py.File(own, "r+") as file:
            for key, place in _places(file).items():
                del file[place]
                file[place] = arrays[key]
        model.load_weights(own)


def _without_classifier(arrays):
    return {key: array for key, array in arrays.items() if not key.startswith(f"{CLASSIFIER}/")}


def _require_same_layout(here, there, source):
    here, there = ({key: array.shape for key, array in arrays.items()} for arrays in (here, there))
    differing = [key for key in sorted(here.keys() | there.keys()) if here.get(key) != there.get(key)]
    if differing:
        examples = [f"{key}: {there.get(key, 'nothing')} there, {here.get(key, 'nothing')} here" for key in differing]
        raise ValueError(f"weights={source!r} was saved from another net ({_some(examples)}).")


def _some(examples, most=3):
    more = f"; and {len(examples) - most} more" if len(examples) > most else ""
    return "; ".join(examples[:most]) + more


def _load_keras(model, path):
    source = load_keras_file(path)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "source.weights.h5"
        source.save_weights(file)
        arrays = read_arrays(file)
    try:
        differing = differences(describe_net(model), describe_net(source))
    except ValueError as error:
        raise ValueError(f"weights={path!r} is refused: {error}") from error
    if differing:
        raise ValueError(f"weights={path!r} is of another net ({_some(differing)}).")
    _load(model, arrays, path)
    _take_over(model, source)


def _take_over(model, source):
    """The preprocessing and the class names, as far as the source carries them."""
    carried = [layer.preprocessing for layer in source.layers if isinstance(layer, ImageInput)]
    if carried and carried[0] is not None:
        set_preprocessing(model, carried[0])
    try:
        names = model_class_names(source)
    except ValueError:  # It carries none.
        return
    if has_layer(model, CLASSIFIER):
        set_class_names(model, names)


def _load_packaged(model, weights):
    row = _row_for(model, weights)
    require_whole(row)
    notes = []
    _load(model, read_arrays(row.file), weights, lambda arrays, here: _fitted(arrays, here, notes))
    channels = model.input_shape[-1]
    mean, deviation = (_for_channels(np.array(values), channels) for values in (row.mean, row.deviation))
    has_classes = has_layer(model, CLASSIFIER) and model.output_shape[-1] == len(row.class_names)
    set_preprocessing(model, Preprocessing(mean, deviation), row.class_names if has_classes else None)
    if notes:
        warnings.warn(f"weights={weights!r}: {' and '.join(notes)}; everything else is loaded.", stacklevel=5)


def _row_for(model, weights) -> PackagedWeights:
    """The row of this name whose net this is."""
    rows = weights_info(weights=weights) if isinstance(weights, str) else []
    if not rows:
        raise ValueError(
            f"weights={weights!r} is refused: None, packaged weights (there are {packaged()}), or the path of a "
            ".weights.h5 or .keras file is needed."
        )
    here = describe_net(model)
    nearest = min(rows, key=lambda row: len(differences(here, row.net)))
    differing = differences(here, nearest.net)
    if differing:
        nets = ", ".join(row.model for row in rows)
        raise ValueError(
            f"weights={weights!r} is packaged for {nets}, and this is another net; from {nearest.model} it "
            f"differs in {_some(differing)}."
        )
    return nearest


def _fitted(arrays, here, notes):
    """Packaged arrays for a net with another classifier or stem; `notes` takes up what was done."""
    kernel, own = arrays[FIRST_KERNEL], here[FIRST_KERNEL]
    if kernel.shape[2] != own.shape[2]:
        notes.append(f"the first convolution is fitted to {own.shape[2]} channels instead of {kernel.shape[2]}")
        summed = kernel.sum(axis=2, keepdims=True) / own.shape[2]
        arrays = {**arrays, FIRST_KERNEL: np.repeat(summed, own.shape[2], axis=2)}
    head = {key: here[key] for key in arrays if key.startswith(f"{CLASSIFIER}/") and key in here}
    differing = [key for key in head if head[key].shape != arrays[key].shape]
    if differing:
        classes = [side[differing[0]].shape[-1] for side in (head, arrays)]
        notes.append(f"the classifier is new and random, {classes[0]} classes instead of {classes[1]}")
        arrays = {**arrays, **head}
    return arrays


def _for_channels(values, channels):
    return tuple((values if len(values) == channels else np.full(channels, values.mean())).tolist())
