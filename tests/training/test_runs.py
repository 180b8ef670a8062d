import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from training.errors import UserError
from training.runs import RunFolder

RECORD = {"status": "running", "settings": {"seed": 0, "drops": (1, 2)}, "data": {"sha256": "abc"}}


def _record(**changes):
    return {**RECORD, **changes}


def _open(path, record=RECORD):
    with closing(RunFolder(path)) as folder:
        return folder.open(record)


def _open_in_another_process(path):
    script = f"from training.runs import RunFolder; folder = RunFolder({str(path)!r}); folder.open({RECORD!r}); input()"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    while not (path / "run.json").exists():
        assert process.poll() is None
    return process


def test_a_new_folder_is_written_and_gone_on_with(tmp_path):
    assert not _open(tmp_path / "a" / "b", RECORD)
    assert json.loads((tmp_path / "a" / "b" / "run.json").read_text())["settings"] == {"seed": 0, "drops": [1, 2]}
    assert not _open(tmp_path / "a" / "b", RECORD)


def test_a_finished_run_says_so(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open(RECORD)
    folder.finish({"test_error": 1.5})
    folder.close()
    again = RunFolder(tmp_path)
    assert again.open(RECORD)
    assert again.record["result"] == {"test_error": 1.5}


def test_other_settings_are_refused_by_name(tmp_path):
    _open(tmp_path, RECORD)
    with pytest.raises(
        UserError, match=r"other settings: drops \(\[1, 2\] there, \[3\] now\), seed \(0 there, 1 now\)"
    ):
        _open(tmp_path, _record(settings={"seed": 1, "drops": (3,)}))


def test_of_a_finished_run_it_is_said_how_to_begin_with_its_weights(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open(RECORD)
    folder.finish({"test_error": 1.5})
    folder.close()
    with pytest.raises(UserError, match=rf"another --run_dir \(--init_from={tmp_path} begins with its weights\)\."):
        _open(tmp_path, _record(settings={"seed": 1, "drops": (1, 2)}))


def test_a_folder_that_cannot_be_written_to_is_refused_by_its_flag():
    with pytest.raises(UserError, match="--run_dir=/dev/null/run cannot be written to: Not a directory"):
        _open(Path("/dev/null/run"))


def test_other_images_are_refused(tmp_path):
    _open(tmp_path, RECORD)
    with pytest.raises(UserError, match="other images"):
        _open(tmp_path, _record(data={"sha256": "abd"}))


def test_a_second_process_is_refused(tmp_path):
    process = _open_in_another_process(tmp_path / "run")
    try:
        with pytest.raises(UserError, match="in use by another process"):
            _open(tmp_path / "run", RECORD)
    finally:
        process.communicate(b"\n")
    assert not _open(tmp_path / "run", RECORD)


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "letters.txt").write_text("")
    with pytest.raises(UserError, match=r"holds no run\.json but letters\.txt; give another --run_dir"):
        _open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file") as caught:
        _open(tmp_path / "file" / "run", RECORD)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"settings": {}}'])
def test_a_damaged_record_is_named_and_kept(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json is damaged; mend it, or give another --run_dir"):
        _open(tmp_path)
    assert (tmp_path / "run.json").read_text() == text
