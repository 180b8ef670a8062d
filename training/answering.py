"""One way to ask a net, be it in a run folder, a .keras file or an export: images in, float32 logits out."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_preresnet import create_model, model_class_names, model_preprocessing, weights_info
from keras_preresnet.anatomy import last_activation
from keras_preresnet.export import float32_copy
from keras_preresnet.keras_files import reason, require_whole
from keras_preresnet.preprocessing import Preprocessing
from training.errors import UserError, user_errors
from training.file_net import RUNTIMES, FileNet, load_file_net
from training.files import read_json
from training.packaged import packaged_pair
from training.shapes import Shape, describe, require_side

GLOBAL_POOLING = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
NEEDED = (
    "a run folder, a .keras file, a SavedModel, an exported .onnx or .tflite file, or packaged weights as "
    "PreResNet20:cifar10 are needed"
)
# By programs that refuse exports.
KERAS_NEEDED = "a run folder, a .keras file, or packaged weights as PreResNet20:cifar10 are needed"
LOGITS_NEEDED = "a run folder or a .keras file of a net with logits is needed"
Answer = Callable[[tf.Tensor], np.ndarray]  # Images of 0 to 255, uint8 or float32, to float32 logits (batch, classes).


@dataclass(frozen=True)
class KerasNet:
    """A Keras model that classifies images, computing in float32.

    Args:
        name: For the user.
        model: Takes preprocessed images `(batch, height, width, channels)`; answers with logits, or with probabilities
            if its last layer is a softmax.
        record: The record of its run (run.json); without one what the model itself carries, in the same form, or {}.
    """

    name: str
    model: keras.Model
    record: dict = field(default_factory=dict)

    @property
    def image_shape(self) -> Shape:
        """Of the images that it takes."""
        return self.model.input_shape[1:]

    @property
    def classes(self) -> int:
        """How many it tells apart."""
        return self.model.output_shape[-1]

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """As its run or the file names them, or None."""
        return tuple(self.record["class_names"]) if "class_names" in self.record else None

    def for_side(self, side: int) -> "KerasNet":
        """Returns the same net with the same weights for images of another height and width.

        Raises:
            UserError: if its weights depend on the size of the images, as they do unless it pools globally.
        """
        refusal = f"--crop={side} is refused: {self.name} takes images of {describe(self.image_shape)} only, for "
        if not any(isinstance(layer, GLOBAL_POOLING) for layer in self.model.layers):
            raise UserError(f"{refusal}it has no global pooling.")
        try:
            images = keras.Input((side, side, self.image_shape[-1]), name="images")
            model = keras.models.clone_model(self.model, input_tensors=images)
            model.set_weights(self.model.get_weights())
        except ValueError as error:
            raise UserError(f"{refusal}its weights depend on their size.") from error
        return KerasNet(self.name, model, self.record)

    def answering(self, default: Callable[[], Preprocessing]) -> Answer:
        """Returns the net as a function.

        Args:
            default: Gives the preprocessing if neither run nor file says it; not called otherwise, for it may go
                through all images.
        """
        preprocessing = self.preprocessing(default)
        has_softmax = self.ends_in_softmax

        def logits(images):
            outputs = self.model(preprocessing(images), training=False)
            return tf.math.log(tf.maximum(outputs, 1e-37)) if has_softmax else outputs

        compiled = tf.function(logits, input_signature=[tf.TensorSpec([None, *self.image_shape])])
        return lambda images: compiled(tf.cast(images, tf.float32)).numpy()

    @property
    def ends_in_softmax(self) -> bool:
        """Whether it answers with probabilities."""
        return last_activation(self.model) is keras.activations.softmax

    def preprocessing(self, default: Callable[[], Preprocessing]) -> Preprocessing:
        """Returns that of its run or of its file, or `default()` if neither says it."""
        if "data" not in self.record:
            return default()
        with user_errors(TypeError, KeyError, ValueError):
            return Preprocessing(**self.record["data"]["preprocessing"])


@dataclass(frozen=True)
class SavedModelNet:
    """A SavedModel as `keras_preresnet.export` writes it, its preprocessing inside.

    Args:
        name: For the user.
        module: Kept whole: its signature alone would lose its variables.
        class_names: Or None.
        short_side: To which the shorter side of a file is resized, before the central crop; None if it takes no files.
        record: Nothing: a SavedModel does not know its run.
    """

    name: str
    module: tf.Module
    class_names: tuple[str, ...] | None
    short_side: int | None = None
    record: dict = field(default_factory=dict)

    @property
    def _signature(self):
        return self.module.signatures["serving_default"]

    @property
    def image_shape(self) -> Shape:
        """Of the images that it takes."""
        return tuple(self._signature.structured_input_signature[1]["images"].shape[1:])

    @property
    def classes(self) -> int:
        """How many it tells apart."""
        return self._signature.structured_outputs["logits"].shape[-1]

    def for_side(self, side: int) -> "SavedModelNet":
        """Returns the net itself if it takes images of this height and width; raises UserError if it does not."""
        require_side(f"the SavedModel {self.name}", self.image_shape, side)
        return self

    def answering(self, default: Callable[[], Preprocessing]) -> Answer:
        """Returns the net as a function, with its own preprocessing; it takes uint8, so that images are rounded."""

        def logits(images):
            if images.dtype != tf.uint8:
                images = tf.cast(tf.round(tf.clip_by_value(images, 0, 255)), tf.uint8)
            return self._signature(images=images)["logits"].numpy()

        return logits


def load_net(path: str, needed: str = NEEDED) -> KerasNet | SavedModelNet | FileNet:
    """Loads a net from a run folder, a `.keras` file (with the record of its run beside it), or an export.

    Packaged weights are named as "PreResNet20:cifar10", the net and the weights.

    Args:
        path: Of the net.
        needed: What a message says where there is none.

    Raises:
        UserError: if it is none of these, damaged, or holds Python code or layers that are neither Keras's nor ours.
    """
    folder = Path(path)
    pair = packaged_pair(path)
    if pair:
        return _load_packaged(*pair)
    if folder.is_dir() and (folder / "run.json").exists():
        if not (folder / "model.keras").exists():
            raise UserError(
                f"--net={path} holds no model.keras: the run is not finished, or its net was taken away; go on with it."
            )
        return _load_keras(folder / "model.keras")
    if folder.is_dir() and not _saved_models(folder):
        raise UserError(f"--net={path} holds no net; {needed}.")
    if folder.is_dir():
        return load_saved_model(newest_version(path, "net"))
    if not folder.exists():
        raise UserError(f"--net={path} does not exist; {needed}.")
    if folder.suffix in RUNTIMES:
        return load_file_net(folder)
    if folder.suffix != ".keras":
        raise UserError(f"--net={path} is refused: {needed}.")
    return _load_keras(folder)


def load_exportable(path: str, if_exported: str = f"is an export already; {LOGITS_NEEDED}") -> KerasNet:
    """Loads a net that an export can be made of: one of Keras that answers with logits.

    Args:
        path: As of `load_net`.
        if_exported: What a message says of an export.

    Raises:
        UserError: as `load_net`; for an export, or a net that ends in a softmax.
    """
    net = load_net(path, KERAS_NEEDED)
    if not isinstance(net, KerasNet):
        raise UserError(f"--net={path} {if_exported}.")
    if net.ends_in_softmax:
        raise UserError(f"--net={path} ends in a softmax; {LOGITS_NEEDED}.")
    return net


def newest_version(folder: str, flag: str) -> Path:
    """Returns `folder` if it is a SavedModel, else the highest version in it.

    Raises:
        UserError: if it is neither, naming the flag it came from.
    """
    found = _saved_models(Path(folder))
    if not found:
        raise UserError(
            f"--{flag}={folder} is no SavedModel and holds none; training.train writes one, and training.export makes "
            "one of a run folder, a .keras file, or packaged weights as PreResNet20:cifar10; training.predict takes "
            "those as --net too."
        )
    return found[-1]


def _saved_models(folder):
    """The folder itself, or the versions in it, the highest last."""
    if (folder / "saved_model.pb").exists():
        return [folder]
    versions = [child for child in folder.glob("*") if child.name.isdigit() and (child / "saved_model.pb").exists()]
    return sorted(versions, key=lambda version: int(version.name))


def _load_packaged(model_name, weights):
    """As if it lay in a folder of its run."""
    with user_errors(ValueError):
        row = weights_info(model_name, weights)
        model = create_model(row.model, classes=len(row.class_names), weights=row.weights)
    record = {"settings": {"model": row.model, "data": row.weights}, **_carried(model)}
    return KerasNet(row.model, model, record)


def _load_keras(path):
    record = read_json(path.parent / "run.json")
    try:
        require_whole(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged or no .keras file; save the net again.") from error
    try:
        model = float32_copy(keras.saving.load_model(path, compile=False, safe_mode=True))
    except Exception as error:  # Whatever Keras may raise at a file that others wrote.
        raise UserError(f"{path} cannot be loaded: {reason(error)}") from error
    _require_classifier(model, path)
    record = record or _carried(model)
    return KerasNet(record.get("settings", {}).get("model", model.name), model, record)


def _carried(model):
    """What a net saved without a run, as by `model.save`, says of itself: parts of a record."""
    record = {}
    with suppress(ValueError):  # It carries none.
        record["data"] = {"preprocessing": model_preprocessing(model).to_dict()}
    with suppress(ValueError):
        record["class_names"] = list(model_class_names(model))
    return record


def _require_classifier(model, path):
    shapes = model.input_shape, model.output_shape
    fits = all(isinstance(shape, tuple) for shape in shapes) and tuple(map(len, shapes)) == (4, 2)
    if not fits or None in (shapes[0][-1], shapes[1][-1]):
        raise UserError(f"{path} maps {shapes[0]} to {shapes[1]}; a net from images to one score a class is needed.")
    activation = last_activation(model)
    if activation not in (None, keras.activations.linear, keras.activations.softmax):
        name = getattr(activation, "__name__", activation)
        raise UserError(f"{path} ends in the activation {name}; logits or a softmax are needed.")


def load_saved_model(path: Path) -> SavedModelNet:
    """Loads a SavedModel as `keras_preresnet.export` writes it; raises UserError if it is damaged or another."""
    with user_errors(OSError, ValueError):
        module = tf.saved_model.load(str(path))
    facts = read_json(path / "assets.extra" / "model.json")
    names = tuple(facts["class_names"]) if "class_names" in facts else None
    name = facts.get("model", path.name)
    signature = module.signatures.get("serving_default")
    inputs = signature.structured_input_signature[1] if signature else {}
    if set(inputs) != {"images"} or inputs["images"].dtype != tf.uint8 or "logits" not in signature.structured_outputs:
        raise UserError(f"{path} has no signature from uint8 'images' to 'logits', as those of training.train have.")
    return SavedModelNet(name, module, names, facts.get("short_side"))
