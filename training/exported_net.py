"""The exported net that is asked about images: one that lies in a folder, or an export made of a net for the moment."""

import dataclasses
from tempfile import TemporaryDirectory

import tensorflow as tf

from keras_preresnet.export import export_saved_model
from training.answering import SavedModelNet, load_exportable, load_saved_model, newest_version
from training.data import IN_MEMORY
from training.encoded import short_side_of
from training.errors import UserError, user_errors


def load_exported(saved_model: str | None, net: str | None) -> tuple[str, SavedModelNet]:
    """Returns what is asked, for the user to read, and the net.

    Just one of them is given, see `require_one`.

    Args:
        saved_model: Folder of a SavedModel, or of its versions: then the newest.
        net: A run folder, a `.keras` file, or packaged weights as "PreResNet20:cifar10". It is exported to a temporary
            folder, so that it answers as its export would.

    Raises:
        UserError: if it cannot be loaded.
    """
    if saved_model is None:
        return net, _exported(net)
    path = newest_version(saved_model, "saved_model")
    return str(path), load_saved_model(path)


def require_one(saved_model: str | None, net: str | None) -> None:
    """Raises UserError unless just one of the flags is given."""
    if saved_model is not None and net is not None:
        raise UserError(f"--saved_model={saved_model} and --net={net} exclude each other; give one.")
    if saved_model is None and net is None:
        raise UserError(
            "either --saved_model or --net is needed: the folder of an exported net, like "
            "saved_models/preresnet20_cifar10; or a run folder, a .keras file, or packaged weights as "
            "PreResNet20:cifar10."
        )


def _exported(name):
    elsewhere = "is an export: that of a SavedModel is given as --saved_model, and training.evaluate tests all"
    net = load_exportable(name, elsewhere)

    def unknown():
        raise UserError(f"--net={name} does not say how its images are preprocessed; the net of a run does.")

    preprocessing = net.preprocessing(unknown)
    numbers = tuple(map(str, range(net.classes)))
    in_memory = net.record.get("settings", {}).get("augmentation", IN_MEMORY[0]) in IN_MEMORY
    short_side = None if in_memory else short_side_of(net.image_shape[0])
    with user_errors(OSError, tf.errors.OpError, ValueError), TemporaryDirectory() as folder:
        path = export_saved_model(net.model, folder, preprocessing, net.class_names or numbers, short_side)
        return dataclasses.replace(load_saved_model(path), class_names=net.class_names)
