import json
import subprocess
import sys
from contextlib import closing

import pandas as pd
import pytest

from training.errors import UserError
from training.runs import RunFolder, require_writable, write_text

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


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file") as caught:
        _open(tmp_path / "file" / "run", RECORD)
    assert "\n" not in str(caught.value)


def test_metrics_after_a_step_are_cut_off(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (5, 10, 15):
        folder.add_metrics({"step": step, "loss": step / 3})
    folder.keep_metrics(10)
    expected = pd.DataFrame({"step": [5, 10], "loss": [5 / 3, 10 / 3]})
    pd.testing.assert_frame_equal(folder.metrics(), expected)


def test_writing_leaves_no_part_behind(tmp_path):
    write_text(tmp_path / "a", "old")
    write_text(tmp_path / "a", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"settings": {}}'])
def test_a_damaged_record_is_named_and_kept(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json is damaged; mend it, or give another --run_dir"):
        _open(tmp_path)
    assert (tmp_path / "run.json").read_text() == text


def test_a_folder_is_probed_before_it_is_needed(tmp_path):
    require_writable(tmp_path / "a" / "b", "saved_model_dir")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--saved_model_dir=.*file/b cannot be written to"):
        require_writable(tmp_path / "file" / "b", "saved_model_dir")
