"""A folder of image files, by class."""

import os

from training.errors import UserError, user_errors
from training.files import as_text, printable
from training.sources import FileSource, FoundImages, expanded

READ = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
NOT_READ = (".webp", ".tif", ".tiff", ".heic", ".avif", ".jp2")  # To leave them out in silence would be a surprise.
TEST_SPLITS = ("test", "validation", "val")


def find_folder(
    name: str, train_split: str | None, test_split: str | None, test_fraction: float, seed: int
) -> FoundImages:
    """Finds the images of `root/<split>/<class>/*`, or of `root/<class>/*` with some held out for the test.

    It is the first form if `root` has a folder of the name of `train_split` with folders in it.

    Args:
        name: `root`; "~" is the user's home.
        train_split: Folder to train on; default "train".
        test_split: Folder to test on; default the first there is of "test", "validation" and "val".
        test_fraction: What is held out in the second form, of each class in equal share.
        seed: Decides which.

    Raises:
        UserError: if there are no images or a single class, a class is empty or is in the test alone, a split is not
            there, or a folder cannot be read.
    """
    root = expanded(name)
    title = folder_title(name)
    try:
        wanted = train_split or "train"
        if train_split or test_split or ((root / wanted).is_dir() and _folders(root / wanted)):
            train, test, classes = _by_split(root, title, wanted, test_split)
        else:
            train, test, classes = _held_out(root, title, test_fraction, seed)
        _require_text((title, *classes))
        return FoundImages(title, "folder", FileSource(root, *train), FileSource(root, *test), classes)
    except (OSError, UserError) as error:
        raise UserError(f"--data={name} is refused: {error}") from error


def _require_text(names):
    for name in names:
        if as_text(name) != name:
            raise UserError(f"the name of the folder {printable(name)} is not UTF-8 text; rename it.")


def folder_title(name: str) -> str:
    """Returns what a folder is called in records and messages: no path."""
    return os.path.basename(os.path.abspath(expanded(name)))


def _folders(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _by_split(root, title, train_split, test_split):
    candidates = (test_split,) if test_split else TEST_SPLITS
    present = [split for split in candidates if (root / split).is_dir()]
    if not (root / train_split).is_dir() or not present:
        missing = train_split if not (root / train_split).is_dir() else " or ".join(candidates)
        there = ", ".join(path.name for path in _folders(root)) or "none"
        raise UserError(
            f"{title} has no split {missing}; its folders are {there}. Give --train_split and --test_split, or as "
            "--data a folder of classes, of which some images are held out."
        )
    train, test = (_by_class(root / split, f"{title}/{split}") for split in (train_split, present[0]))
    classes = _classes(train, f"{title}/{train_split}")
    if not test:
        raise UserError(f"{title}/{present[0]} has no class; folders with images are needed, as in {train_split}.")
    unknown = sorted(set(test) - set(classes))
    if unknown:
        raise UserError(f"{title}/{present[0]} has classes that {train_split} has not: {', '.join(unknown)}.")
    return _listed(train, classes), _listed(test, classes), classes


def _held_out(root, title, test_fraction, seed):
    from sklearn.model_selection import train_test_split

    if not 0 < test_fraction < 1:
        raise UserError(f"--test_fraction={test_fraction} is refused: it must lie between 0 and 1.")
    images = _by_class(root, title)
    classes = _classes(images, title)
    paths, labels = _listed(images, classes)
    with user_errors(ValueError):  # Fewer images than classes.
        train, test, train_labels, test_labels = train_test_split(
            paths, labels, test_size=test_fraction, stratify=labels, random_state=seed
        )
    return (train, train_labels), (test, test_labels), classes


def _by_class(folder, title):
    """The paths of the images of each class, sorted."""
    images = {}
    for path in _folders(folder):
        files = sorted(file for file in path.iterdir() if not file.is_dir() and not file.name.startswith("."))
        foreign = [file.name for file in files if file.suffix.lower() in NOT_READ]
        if foreign:
            raise UserError(f"{title}/{path.name}/{foreign[0]} cannot be read; convert it to one of {', '.join(READ)}.")
        images[path.name] = [file for file in files if file.suffix.lower() in READ]
        if not images[path.name]:
            raise UserError(f"{title}/{path.name} holds no image; a class needs at least one ({', '.join(READ)}).")
    return images


def _classes(images, title):
    if len(images) < 2:
        found = f"the single class {next(iter(images))}" if images else "no class"
        raise UserError(f"{title} has {found}; at least two folders with images are needed, {title}/<class>/*.jpg.")
    return tuple(sorted(images))


def _listed(images, classes):
    paths = [path for name in classes for path in images.get(name, ())]
    labels = [label for label, name in enumerate(classes) for _ in images.get(name, ())]
    return paths, labels
