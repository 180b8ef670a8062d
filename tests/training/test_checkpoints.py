import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from training.checkpoints import Checkpoints
from training.errors import UserError


def _checkpoints(folder, value=0.0):
    variable = tf.Variable(np.full((50, 3), value, "float32"))
    return Checkpoints(folder, {"weight": variable}), variable


def _saved(folder, steps):
    checkpoints, variable = _checkpoints(folder)
    for step in steps:
        variable.assign(np.full((50, 3), step, "float32"))
        checkpoints.save(step)
    return checkpoints


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _flip_a_bit(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def _truncate(file):
    file.write_bytes(file.read_bytes()[:-5])


DAMAGES = {
    "a flipped bit": lambda path: _flip_a_bit(path / "variables.data-00000-of-00001"),
    "a flipped bit in the index": lambda path: _flip_a_bit(path / "variables.index"),
    "cut short": lambda path: _truncate(path / "variables.data-00000-of-00001"),
    "empty": lambda path: (path / "variables.data-00000-of-00001").write_bytes(b""),
    "a missing file": lambda path: (path / "variables.index").unlink(),
    "no checksums": lambda path: (path / "SHA256SUMS").unlink(),
    "empty checksums": lambda path: (path / "SHA256SUMS").write_text(""),
    "checksums that are none": lambda path: (path / "SHA256SUMS").write_text("what\n"),
    "checksums that are no text": lambda path: (path / "SHA256SUMS").write_bytes(b"\xff\xfe\x00"),
}


def test_without_a_checkpoint_nothing_is_restored(tmp_path):
    checkpoints, variable = _checkpoints(tmp_path / "none", 7)
    assert checkpoints.restore() == 0
    assert variable.numpy()[0, 0] == 7
    assert not (tmp_path / "none").exists()


def test_two_generations_are_kept_and_the_newest_is_restored(tmp_path):
    _saved(tmp_path, [5, 10, 15, 100])
    assert _names(tmp_path) == ["step_00000015", "step_00000100"]
    checkpoints, variable = _checkpoints(tmp_path)
    assert checkpoints.restore() == 100
    assert (variable.numpy() == 100).all()


def test_the_checksums_are_those_of_sha256sum(tmp_path):
    _saved(tmp_path, [5])
    folder = tmp_path / "step_00000005"
    assert _names(folder) == ["SHA256SUMS", "variables.data-00000-of-00001", "variables.index"]
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_one_is_left_out_with_a_warning(tmp_path, capsys, damage):
    _saved(tmp_path, [5, 10])
    DAMAGES[damage](tmp_path / "step_00000010")
    checkpoints, variable = _checkpoints(tmp_path)
    assert checkpoints.restore() == 5
    assert (variable.numpy() == 5).all()
    assert "step_00000010 is damaged (" in capsys.readouterr().err
    checkpoints.save(10)  # In the place of the damaged one.
    assert _checkpoints(tmp_path)[0].restore() == 10
    assert _names(tmp_path) == ["step_00000005", "step_00000010"]


def test_a_deleted_newest_one_falls_back(tmp_path):
    _saved(tmp_path, [5, 10])
    shutil.rmtree(tmp_path / "step_00000010")
    assert _checkpoints(tmp_path)[0].restore() == 5


def test_damaged_ones_do_not_count_as_a_generation(tmp_path):
    _saved(tmp_path, [5, 10])
    DAMAGES["cut short"](tmp_path / "step_00000010")
    checkpoints, _ = _checkpoints(tmp_path)
    checkpoints.restore()
    checkpoints.save(7)
    assert _names(tmp_path) == ["step_00000005", "step_00000007"]


def test_if_all_are_damaged_nothing_is_trained_anew_in_silence(tmp_path):
    _saved(tmp_path, [5, 10])
    for path in tmp_path.iterdir():
        DAMAGES["cut short"](path)
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged; delete them to start the run anew"):
        _checkpoints(tmp_path)[0].restore()


def test_what_a_kill_left_of_a_save_is_no_checkpoint(tmp_path):
    _saved(tmp_path, [5])
    shutil.copytree(tmp_path / "step_00000005", tmp_path / ".partial")
    (tmp_path / ".partial" / "SHA256SUMS").unlink()
    checkpoints, _ = _checkpoints(tmp_path)
    assert checkpoints.restore() == 5
    checkpoints.save(6)
    assert _names(tmp_path) == ["step_00000005", "step_00000006"]


@pytest.mark.parametrize(
    "variables",
    [
        {"weight": tf.zeros((50, 4))},
        {"weight": tf.zeros((50, 3)), "momentum": tf.zeros(3)},
        {"other": tf.zeros((50, 3))},
    ],
    ids=["another shape", "one more", "another name"],
)
def test_a_checkpoint_of_another_net_is_refused_in_one_line(tmp_path, variables):
    _saved(tmp_path, [5])
    variables = {name: tf.Variable(value) for name, value in variables.items()}
    with pytest.raises(UserError, match=r"step_00000005 holds other variables than this net and recipe have") as caught:
        Checkpoints(tmp_path, variables).restore()
    assert "\n" not in str(caught.value)
