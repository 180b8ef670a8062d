"""Image classification sets of TFDS, by their name."""

import logging
import os
from pathlib import Path

import numpy as np

from keras_preresnet.preprocessing import CIFAR10, CIFAR100, IMAGENET
from keras_preresnet.validation import near
from training.errors import UserError
from training.records import RecordSource
from training.sources import FoundImages

KNOWN_PREPROCESSING = {"cifar10": CIFAR10, "cifar100": CIFAR100, "imagenet2012": IMAGENET}
TEST_SPLITS = ("test", "validation")


def find_tfds(name: str, data_dir: str | None, train_split: str | None, test_split: str | None) -> FoundImages:
    """Finds a TFDS set on disk, or downloads it.

    Args:
        name: With a version if wanted, "cifar10:3.0.2".
        data_dir: Folder of TFDS; default the environment's TFDS_DATA_DIR, else TFDS's own.
        train_split: TFDS split, for example "train[:45000]"; default "train".
        test_split: Default "test", or "validation" where there is no "test" or it has no labels.

    Raises:
        UserError: for an unknown set, one that is neither on disk nor to be downloaded, or one without labels.
    """
    builder = _builder(name, data_dir)
    keys = _keys(builder)
    _prepare(builder)
    present = [split for split in TEST_SPLITS if split in builder.info.splits] or TEST_SPLITS[-1:]
    configuration = builder.builder_config
    return FoundImages(
        f"{builder.name}/{configuration.name}" if configuration else builder.name,
        str(builder.version),
        _labelled(builder, [train_split or "train"], keys),
        _labelled(builder, [test_split] if test_split else present, keys),
        tuple(_feature(builder, keys[1]).names),
        KNOWN_PREPROCESSING.get(builder.name),
    )


def _builder(name, data_dir):
    os.environ.setdefault("NO_GCE_CHECK", "true")  # TFDS would ask the network where it runs.
    import tensorflow_datasets as tfds

    no_folder = "no folder, and " if "/" in name else ""
    try:
        return tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        if Path(name).is_dir():
            raise UserError(f"--data={name} is unknown to TFDS; for the folder give --data=./{name}.") from error
        known = [*tfds.list_builders(with_community_datasets=False), "digits"]
        hits = near(name, known)
        hint = f"the nearest: {', '.join(hits)}" if hits else "see tensorflow_datasets.list_builders()"
        hint += "" if no_folder else f"; a folder is given as --data=./{name}"
        raise UserError(f"--data={name} is {no_folder}unknown to TFDS; {hint}.") from error
    except (AssertionError, ValueError, ImportError) as error:  # No such version; a package that the set needs.
        raise UserError(f"--data={name} is {no_folder}refused by TFDS: {' '.join(str(error).split())}") from error


def _feature(builder, key):
    """Of a nested feature the key is "outer/inner"."""
    feature = builder.info.features
    for part in key.split("/"):
        feature = feature[part]
    return feature


def _keys(builder):
    import tensorflow_datasets as tfds

    keys = builder.info.supervised_keys
    refusal = f"--data={builder.name} is no image classification set"
    if not keys or not all(isinstance(key, str) for key in keys):
        raise UserError(f"{refusal}: its features are {list(builder.info.features)}.")
    image, label = (_feature(builder, key) for key in keys[:2])
    if not isinstance(image, tfds.features.Image):
        raise UserError(f"{refusal}: its features are {list(builder.info.features)}.")
    if not isinstance(label, tfds.features.ClassLabel):
        raise UserError(f"{refusal}: {keys[1]!r} is no class label.")
    if np.dtype(image.np_dtype) != np.uint8:
        raise UserError(f"{refusal} of 8 bits: {keys[0]!r} is of {np.dtype(image.np_dtype)}.")
    return keys[:2]


def _prepare(builder):
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # It would announce every attempt in three lines.
    if not builder.is_prepared():
        print(f"{builder.name} {builder.version} is not in the folder of TFDS (--data_dir): downloading it", flush=True)
    try:
        builder.download_and_prepare()
    except Exception as error:  # Whatever the network, the server or the disk may raise.
        root = Path(builder.data_dir).parents[2 if builder.builder_config else 1]  # name/config/version
        _remove_empty_folders([root / builder.name, root / "downloads"])
        why = " ".join([type(error).__name__, *str(error).split("\n")[:1]]).rstrip(".")
        raise UserError(
            f"{builder.name} {builder.version} is not on disk and could not be downloaded ({why[:200]}). "
            "Set --data_dir or TFDS_DATA_DIR to the folder that holds it, or prepare it where there is a network: "
            f"tfds build {builder.name}."
        ) from error
    if builder.info.file_format.value != "tfrecord":
        raise UserError(
            f"{builder.name} is on disk as {builder.info.file_format.value}, and only tfrecord is read: prepare it "
            f"with tfds build {builder.name} --file_format=tfrecord."
        )


def _remove_empty_folders(folders):
    """Takes away what a failed download leaves behind, and nothing that holds a file."""
    for folder in folders:
        for path, _, _ in os.walk(folder, topdown=False):
            if not os.listdir(path):
                os.rmdir(path)


def _labelled(builder, splits, keys):
    """The first of these splits whose images have labels."""
    for split in splits:
        source = _source(builder, split, keys)
        if source.is_labelled():
            return source
    raise UserError(f"{builder.name} has no labels in {' and '.join(splits)}; give another split.")


def _source(builder, split, keys):
    try:
        instructions = builder.info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        known = ", ".join(builder.info.splits)
        raise UserError(
            f"{builder.name} has no split {split!r}; it has {known}. Parts of one are splits too: "
            "--train_split='train[:90%]' --test_split='train[90%:]'."
        ) from error
    taken = [(part.filename, part.skip, _count(part)) for part in instructions]
    if not any(take for _, _, take in taken):
        raise UserError(f"{split!r} of {builder.name} holds no image.")
    return RecordSource(split, taken, *keys, _feature(builder, keys[0]).shape)


def _count(part):
    """Of the records that are taken from a file; -1 stands for all that follow, and a reversed slice is empty."""
    return part.examples_in_shard - part.skip if part.take == -1 else max(part.take, 0)
