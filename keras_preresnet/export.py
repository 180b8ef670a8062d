"""SavedModels ready to be served: float32, units laid out, preprocessing and class names inside."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_preresnet.metadata import copy_of_input
from keras_preresnet.preprocessing import Preprocessing
from keras_preresnet.stacks import UnitStack


def float32_copy(model: keras.Model, unroll: bool | None = None) -> keras.Model:
    """Returns the same net with the same weights, computing in float32, whatever the policy of `model`.

    It carries the preprocessing and the class names that `model` carries.

    Args:
        model: A net of this package, or any functional model of layers that have a dtype policy.
        unroll: How the copy runs its stacks, see `UnitStack`.
    """

    def copy_layer(layer):
        config = {**layer.get_config(), "dtype": "float32"}
        if isinstance(layer, UnitStack):
            unit = config["unit"]
            config["unit"] = {**unit, "config": {**unit["config"], "dtype": "float32"}}
            config["unroll"] = unroll
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=copy_layer, input_tensors=copy_of_input(model))
    copy.set_weights(model.get_weights())
    return copy


def export_saved_model(
    model: keras.Model, directory: str | Path, preprocessing: Preprocessing, class_names: Sequence[str]
) -> Path:
    """Writes a SavedModel to `directory/<version>/`, the version being the lowest that is free, and returns its path.

    Its signature `serving_default` (also `predict`) takes `images`, uint8 `(batch, height, width, channels)` of 0 to
    255, and returns `logits` and `probabilities` (float32, `(batch, classes)`), `class_id` (int64, `(batch,)`) and
    `label` (text, `(batch,)`). `assets.extra/model.json` names the classes and the preprocessing.

    Args:
        model: A net whose output is logits.
        directory: Made if it is missing. The version appears at once and whole, by renaming.
        preprocessing: Applied to the images inside the SavedModel.
        class_names: One name for each class, in the order of the logits.

    Raises:
        ValueError: if the classes are not as many as the logits.
    """
    if len(class_names) != model.output_shape[-1]:
        raise ValueError(f"{len(class_names)} class names for a net of {model.output_shape[-1]} classes are refused.")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    taken = [int(path.name) for path in directory.iterdir() if path.name.isdigit()]
    target = directory / str(max(taken, default=0) + 1)
    partial = directory / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    _write(float32_copy(model, unroll=True), partial, preprocessing, class_names)
    return partial.rename(target)


def _write(model, path, preprocessing, class_names):
    def predict(images):
        logits = model(preprocessing(images), training=False)
        class_id = tf.argmax(logits, axis=-1)
        return {
            "logits": logits,
            "probabilities": tf.nn.softmax(logits),
            "class_id": class_id,
            "label": tf.gather(tf.constant(list(class_names)), class_id),
        }

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("predict", predict, [tf.TensorSpec(model.input_shape, tf.uint8, name="images")])
    archive.write_out(str(path), verbose=False)
    extra = path / "assets.extra"
    extra.mkdir()
    facts = {"model": model.name, "class_names": list(class_names), "preprocessing": preprocessing.to_dict()}
    (extra / "model.json").write_text(json.dumps(facts, indent=2) + "\n")
