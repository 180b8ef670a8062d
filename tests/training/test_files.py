import errno

import pytest
import tensorflow as tf

from training.errors import UserError
from training.files import disk_errors, require_writable, write_text, written_at_once


def test_writing_leaves_no_part_behind(tmp_path):
    write_text(tmp_path / "a", "old")
    write_text(tmp_path / "a", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "new"


def test_writing_that_fails_leaves_the_old_file_alone(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError), written_at_once(tmp_path / "a") as partial:
        partial.write_text("half of it \ud800")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_folder_is_probed_before_it_is_needed(tmp_path):
    require_writable(tmp_path / "a" / "b", "saved_model_dir")
    assert list(tmp_path.iterdir()) == []  # Nothing is made before it is needed.
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--saved_model_dir=.*file/b cannot be written to"):
        require_writable(tmp_path / "file" / "b", "saved_model_dir")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (tf.errors.ResourceExhaustedError(None, None, "run/x; No space\nleft"), "run/x; No space left"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_what_the_disk_refuses_is_one_line_and_says_what_to_do(tmp_path, error, reason):
    with (
        pytest.raises(
            UserError, match=f"could not be written to: {reason}. The last good checkpoint is kept"
        ) as caught,
        disk_errors(tmp_path),
    ):
        raise error
    assert "\n" not in str(caught.value)


def test_other_errors_pass(tmp_path):
    with pytest.raises(ZeroDivisionError), disk_errors(tmp_path):
        raise ZeroDivisionError
