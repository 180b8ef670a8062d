"""SavedModels ready to be served: float32, batch norms folded, preprocessing and class names inside."""

import errno
import json
import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from keras_preresnet.anatomy import last_activation
from keras_preresnet.folding import folded_copy
from keras_preresnet.metadata import copy_of_input, require_one_name_a_class
from keras_preresnet.preprocessing import Preprocessing
from keras_preresnet.runtimes import require_package
from keras_preresnet.serving import MAX_PIXELS, Endpoints
from keras_preresnet.stacks import UnitStack
from keras_preresnet.warmup import WARMUP_FILE, WARMUP_PACKAGE, write_warmup


def float32_copy(model: keras.Model, unroll: bool | None = None) -> keras.Model:
    """Returns the same net with the same weights, computing in float32, whatever the policy of `model`.

    It carries the preprocessing and the class names that `model` carries.

    Args:
        model: A net of this package, or any functional model of layers that have a dtype policy.
        unroll: How the copy runs its stacks, see `UnitStack`.
    """

    def copy_layer(layer):
        """The layer in float32; of a stack its unit too."""
        config = {**layer.get_config(), "dtype": "float32"}
        if isinstance(layer, UnitStack):
            unit = config["unit"]
            config["unit"] = {**unit, "config": {**unit["config"], "dtype": "float32"}}
            config["unroll"] = unroll
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=copy_layer, input_tensors=copy_of_input(model))
    copy.set_weights(model.get_weights())
    return copy


def with_temperature(model: keras.Model, temperature: float, unroll: bool | None = None) -> keras.Model:
    """Returns a float32 copy of the net whose logits are divided by `temperature`; it makes the same predictions.

    Above 1 it is less sure of itself, below 1 surer (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
    section 4.2). `training.evaluate --temperature_scaling` fits it. No operation is added: the weights of the
    classifier are divided.

    Args:
        model: A net; for another temperature than 1 its last layer must be a `Dense` without activation, as all nets
            of this package that give logits have it.
        temperature: Above 0.
        unroll: How the copy runs its stacks, see `UnitStack`.

    Raises:
        ValueError: for another temperature, or another last layer.
    """
    require_temperature(model, temperature)
    copy = float32_copy(model, unroll)
    if temperature != 1:
        for weight in _last_layer(copy).weights:
            weight.assign(weight / temperature)
    return copy


def require_temperature(model: keras.Model, temperature: float) -> None:
    """Raises ValueError unless `with_temperature` takes this net and this temperature."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature={temperature} is refused: a number above 0 is needed.")
    if temperature == 1:
        return  # Nothing is divided, and any last layer will do.
    classifier = _last_layer(model)
    linear = getattr(classifier, "activation", None) is keras.activations.linear
    if not isinstance(classifier, keras.layers.Dense) or not linear:
        raise ValueError(
            f"temperature={temperature} is refused: {model.name} ends in {classifier.name}, a "
            f"{type(classifier).__name__}; a Dense layer without activation is needed."
        )


def require_logits(model: keras.Model) -> None:
    """Raises ValueError if the net ends in an activation: what exports call logits would be probabilities."""
    activation = last_activation(model)
    if activation not in (None, keras.activations.linear):
        name = getattr(activation, "__name__", activation)
        raise ValueError(f"{model.name} ends in {name}: an export is made of a net that answers with logits.")


def _last_layer(model):
    return model.outputs[0]._keras_history.operation


def export_saved_model(
    model: keras.Model,
    directory: str | Path,
    preprocessing: Preprocessing,
    class_names: Sequence[str],
    short_side: int | None = None,
    max_pixels: int = MAX_PIXELS,
    warmup: bool = False,
    temperature: float = 1.0,
) -> Path:
    """Writes a SavedModel to `directory/<version>/`, one more than the highest version there, and returns its path.

    Its endpoints, as `keras_preresnet.serving.Endpoints` says what they take and return:
        predict, also serving_default: `images`, uint8.
        predict_bytes: `image_bytes`, encoded images; where the net takes grey or RGB squares of a known size.
        embed: `images`, uint8; where the net has the layer `avg_pool`.
    `assets.extra/model.json` names the classes and the preprocessing.

    Args:
        model: A net whose output is logits.
        directory: Made if it is missing. The version appears at once and whole, by renaming; a process that is killed
            before leaves a hidden folder, `.partial.*`.
        preprocessing: Applied to the images inside the SavedModel.
        class_names: One name for each class, in the order of the logits.
        short_side: To which the shorter side of an encoded image is resized, before the central crop of the net's size;
            default: that size.
        max_pixels: Encoded images that declare more are refused before they are decoded.
        warmup: Whether to write warm-up requests for TensorFlow Serving too.
        temperature: By which the logits are divided, see `with_temperature`.

    Raises:
        ImportError: if `warmup` needs tensorflow-serving-api, which is not installed.
        ValueError: if the net ends in an activation, the classes are not as many as the logits, the short side is
            shorter than the crop, or the temperature is refused.
    """
    if warmup:
        require_package(WARMUP_PACKAGE)
    require_logits(model)
    require_one_name_a_class(model, class_names)
    copy = folded_copy(with_temperature(model, temperature))
    endpoints = Endpoints(copy, preprocessing, class_names, short_side, max_pixels)
    if endpoints.takes_files and endpoints.short_side < endpoints.height:
        raise ValueError(f"short_side={short_side} is refused: the net's crop of {endpoints.height} does not fit in.")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial.", dir=directory) as partial:  # Others may export to the same directory.
        written = Path(partial) / "version"
        _write(endpoints, written, warmup, temperature)
        return _as_next_version(written, directory)


def _as_next_version(written, directory):
    """Renames it; the number may be taken by another process in between."""
    while True:
        taken = [int(path.name) for path in directory.iterdir() if path.name.isdigit()]
        try:
            return written.rename(directory / str(max(taken, default=0) + 1))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


def _write(endpoints, path, warmup, temperature):
    signatures = {"predict": endpoints.images}
    if endpoints.takes_files:
        signatures["predict_bytes"] = endpoints.image_bytes
    if endpoints.embeds:
        signatures["embed"] = endpoints.images
    archive = keras.export.ExportArchive()
    for name, spec in signatures.items():
        archive.add_endpoint(name, getattr(endpoints, name), [spec])
    archive.write_out(str(path), verbose=False)
    extra = path / "assets.extra"
    extra.mkdir()
    if warmup:
        write_warmup(extra / WARMUP_FILE, endpoints.model.name, signatures)
    facts = {
        "model": endpoints.model.name,
        "class_names": endpoints.class_names,
        "preprocessing": endpoints.preprocessing.to_dict(),
        "temperature": temperature,
        "short_side": endpoints.short_side,
        "max_pixels": endpoints.max_pixels,
    }
    (extra / "model.json").write_text(json.dumps(facts, indent=2) + "\n")
