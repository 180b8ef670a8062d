"""Loading weights: whole and into the net they were saved from, or not at all."""

import tempfile
from pathlib import Path

import h5py
import keras


def load_weights(model: keras.Model, path: str | Path) -> None:
    """Loads a `.weights.h5` file into the model, after holding its layout against the model's own.

    Keras alone would match layers of one class by their order, and leave a net half loaded where it then fails.

    Raises:
        ValueError: if there is no such file, it is damaged, or it was saved from another net; the model is as before.
    """
    if not str(path).endswith(".weights.h5") or not Path(path).is_file():
        raise ValueError(f"weights={str(path)!r} is refused: None or the path of a .weights.h5 file is needed.")
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own.weights.h5"
        model.save_weights(own)
        here = _layout(own)
    there = _layout(path)
    differing = [key for key in sorted(here.keys() | there.keys()) if here.get(key) != there.get(key)]
    if differing:
        examples = [f"{key}: {there.get(key, 'nothing')} there, {here.get(key, 'nothing')} here" for key in differing]
        raise ValueError(f"weights={str(path)!r} was saved from another net ({_some(examples)}).")
    model.load_weights(path)


def _layout(path):
    """The shape of each array by the name of its layer and its place in it."""
    found = {}

    def visit(name, entry):
        # A net that was trained by `Model.fit` has saved its optimizer beside its layers.
        if isinstance(entry, h5py.Dataset) and name.startswith("layers/"):
            layer, *rest = name.removeprefix("layers/").split("/")
            group = entry.file.get(f"layers/{layer}/vars")
            layer = layer if group is None else group.attrs.get("name", layer)
            found["/".join([str(layer), *rest]).replace("/vars", "")] = tuple(entry.shape)

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except OSError as error:
        raise ValueError(
            f"weights={str(path)!r} is damaged or no weights file: {' '.join(str(error).split())}"
        ) from error
    return found


def _some(examples, most=3):
    more = f"; and {len(examples) - most} more" if len(examples) > most else ""
    return "; ".join(examples[:most]) + more
