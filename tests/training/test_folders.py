import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from training_helpers import write_images

from training.bad_images import BadImages
from training.errors import UserError
from training.folders import find_folder


def _find(root, train_split=None, test_split=None, test_fraction=0.25, seed=0):
    return find_folder(str(root), train_split, test_split, test_fraction, seed)


def _listed(source):
    index = np.arange(len(source))
    return {source.name_of(k): int(source.records(k)[1]) for k in index}


def _digest(root):
    digest = hashlib.sha256()
    found = _find(root)
    for source in (found.train, found.test):
        source.add_to(digest)
    return digest.hexdigest()


@pytest.mark.parametrize("test", ["test", "validation", "val"])
def test_splits_are_folders(tmp_path, test):
    counts = {"train/dog": 2, "train/cat": 1, f"{test}/cat": 1, f"{test}/dog": 1}
    found = _find(write_images(tmp_path / "pets", counts))
    assert (found.name, found.class_names) == ("pets", ("cat", "dog"))
    assert _listed(found.train) == {"train/cat/000.png": 0, "train/dog/000.png": 1, "train/dog/001.png": 1}
    assert _listed(found.test) == {f"{test}/cat/000.png": 0, f"{test}/dog/000.png": 1}


def test_splits_may_be_named(tmp_path):
    counts = {"learn/a": 1, "learn/b": 1, "test/a": 1, "exam/b": 1}
    found = _find(write_images(tmp_path / "set", counts), "learn", "exam")
    assert list(_listed(found.train)) == ["learn/a/000.png", "learn/b/000.png"]
    assert _listed(found.test) == {"exam/b/000.png": 1}


def test_without_splits_an_equal_share_of_each_class_is_held_out(tmp_path):
    root = write_images(tmp_path / "set", {"a": 8, "b": 16})
    found = _find(root)
    train, test = _listed(found.train), _listed(found.test)
    assert (len(train), len(test)) == (18, 6)
    assert np.bincount(list(test.values())).tolist() == [2, 4]
    assert not train.keys() & test.keys()
    assert _listed(_find(root).test) == test
    assert _listed(_find(root, seed=1).test) != test


def test_a_class_may_be_called_train(tmp_path):
    assert _find(write_images(tmp_path / "set", {"car": 8, "train": 8})).class_names == ("car", "train")


@pytest.mark.parametrize("name", ["a.JPG", "a.jpeg", "a.Png", "a.bmp", "a.gif"])
def test_every_ending_is_known_and_what_is_hidden_or_no_image_is_left_out(tmp_path, name):
    root = write_images(tmp_path / "set", {"a": 8, "b": 8})
    (root / "a" / "000.png").rename(root / "a" / name)
    for other in ("a/.hidden.png", "a/notes.txt", "labels.csv", "a/Thumbs.db"):
        (root / other).write_bytes(b"")
    (root / ".cache").mkdir()
    found = _find(root)
    assert {*_listed(found.train), *_listed(found.test)} == {
        f"a/{name}",
        *(f"a/{k:03}.png" for k in range(1, 8)),
        *(f"b/{k:03}.png" for k in range(8)),
    }


def test_two_sets_have_two_checksums(tmp_path):
    one, same = (write_images(tmp_path / name / "set", {"a": 8, "b": 8}) for name in ("1", "2"))
    other = write_images(tmp_path / "3" / "set", {"a": 8, "b": 9})
    assert _digest(one) == _digest(same) != _digest(other)
    for k in range(8):
        (same / "a" / f"{k:03}.png").write_bytes(b"longer")
    assert _digest(one) != _digest(same)


@pytest.mark.parametrize(
    ("counts", "splits", "words"),
    [
        ({"a": 3, "b": 0}, (), "set/b holds no image; a class needs at least one"),
        ({"a": 3}, (), "set has the single class a; at least two folders"),
        ({"": 0}, (), "set has no class; at least two folders"),
        ({"train/a": 1, "train/b": 1}, (), "set has no split test or validation or val; its folders are train"),
        ({"train/a": 1, "train/b": 1, "test/a": 1}, ("learn",), "set has no split learn; its folders are test, train"),
        ({"train/a": 1, "train/b": 1, "test/a": 1}, (None, "exam"), "set has no split exam"),
        ({"train/a": 1, "train/b": 1, "test/c": 1}, (), "set/test has classes that train has not: c"),
        (
            {"train/a": 1, "train/b": 1, "test": 0},
            (),
            "set/test has no class; folders with images are needed",
        ),
        ({"train/a": 1, "test/a": 1}, (), "set/train has the single class a"),
        ({"a": 1, "b": 1}, (), "class"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path, counts, splits, words):
    root = write_images(tmp_path / "set", {name: count for name, count in counts.items() if name})
    root.mkdir(exist_ok=True)
    with pytest.raises(UserError, match=words) as caught:
        _find(root, *splits)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"--data={root} is refused: ")


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_a_fraction_lies_between_0_and_1(tmp_path, fraction):
    with pytest.raises(UserError, match=r"--test_fraction=.* is refused: it must lie between 0 and 1"):
        _find(write_images(tmp_path / "set", {"a": 8, "b": 8}), test_fraction=fraction)


def test_a_format_that_is_not_read_is_not_left_out_in_silence(tmp_path):
    root = write_images(tmp_path / "set", {"a": 8, "b": 8})
    (root / "b" / "x.webp").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"set/b/x.webp cannot be read; convert it to one of .jpg"):
        _find(root)


@pytest.mark.parametrize("method", ["iterdir", "stat"])
def test_what_may_not_be_read_is_refused_in_one_line(tmp_path, monkeypatch, method):
    root = write_images(tmp_path / "set", {"a": 8, "b": 8})
    allowed = getattr(Path, method)

    def refuse(path, *arguments, **options):
        if path.name in ("b", "003.png"):
            raise PermissionError(13, "Permission denied", path.name)
        return allowed(path, *arguments, **options)

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(UserError, match="Permission denied") as caught:
        _find(root)
    assert "\n" not in str(caught.value)


def test_a_dangling_link_is_refused(tmp_path):
    root = write_images(tmp_path / "set", {"a": 8, "b": 8})
    os.symlink(tmp_path / "gone.png", root / "a" / "link.png")
    with pytest.raises(UserError, match="No such file"):
        _find(root)


def test_names_that_are_no_text_are_read_and_shown_and_no_names_of_classes(tmp_path):
    """Latin-1 names, as an old archive holds them, which differ where they are no text."""
    root, other = (write_images(tmp_path / name, {"a": 8, "b": 8}) for name in ("set", "other"))
    name = os.fsdecode(b"caf\xe9.png")
    (root / "a" / "000.png").rename(root / "a" / name)
    (other / "a" / "000.png").rename(other / "a" / os.fsdecode(b"caf\xe8.png"))
    assert _digest(root) != _digest(other)
    found = _find(root)
    source = next(source for source in (found.train, found.test) if f"a/{name}" in _listed(source))
    encoded, _ = source.open(source.records(np.array(list(_listed(source)).index(f"a/{name}"))))
    assert encoded.numpy().startswith(b"\x89PNG")
    bad = BadImages()
    bad.record(f"a/{name}")
    assert str(bad).encode().endswith("a/caf\ufffd.png".encode())
    (root / "b").rename(root / os.fsdecode(b"\xe9t\xe9"))
    with pytest.raises(UserError, match="the name of the folder \ufffdt\ufffd is not UTF-8 text; rename it"):
        _find(root)
