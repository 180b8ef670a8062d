"""Which files are meant, what is said of them, and what a terminal sees."""

import io
import json
import os
import sys

import numpy as np
import pytest
from image_files import encode
from matplotlib.image import imread
from programs import messages, run_program
from rich.console import Console
from seeds import draw_anew

from keras_preresnet import ResidualNetwork, weights_info
from keras_preresnet.export import export_saved_model
from keras_preresnet.preprocessing import Preprocessing
from training import contact_sheet, prediction_job
from training.answering import load_saved_model
from training.errors import UserError
from training.exported_net import load_exported
from training.files import printable
from training.prediction_job import Prediction, find_files, predict, table

NAMES = ("cat", "dog", "émeu", "fox")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    draw_anew(2)
    model = ResidualNetwork(units=(1,), widths=(8,), stem_width=8, classes=4, input_shape=(8, 8, 3))
    return export_saved_model(model, tmp_path_factory.mktemp("net"), Preprocessing((99,) * 3, (50,) * 3), NAMES)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    (tmp_path / "none").mkdir()
    for name, pixels in zip(("b.png", "a.PNG", "deep/c.bmp"), PIXELS, strict=False):
        (tmp_path / "photos" / name).write_bytes(encode(pixels, "BMP" if name.endswith("bmp") else "PNG"))
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path


def _find(*names):
    return find_files(names)


def test_files_folders_patterns_and_what_leads_nowhere(folder):
    everything = ["photos/a.PNG", "photos/b.png", "photos/deep/c.bmp"]
    assert _find("photos") == everything
    assert _find("photos/*.*") == ["photos/a.PNG", "photos/b.png", "photos/notes.txt"]
    assert _find("photos/**/*.bmp") == ["photos/deep/c.bmp"]
    assert _find("photos/b.png", "gone.png", "none", "gone*") == ["photos/b.png", "gone.png", "none", "gone*"]
    (folder / "a[1].png").write_bytes(b"")
    assert _find("a[1].png") == ["a[1].png"]


def test_a_list_on_standard_input(folder, monkeypatch):
    names = b"photos/b.png\n\nphotos/deep\na name with spaces.jpg\ncaf\xe9.png\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(names), "utf-8"))
    expected = ["first.png", "photos/b.png", "photos/deep/c.bmp", "a name with spaces.jpg", os.fsdecode(b"caf\xe9.png")]
    assert _find("first.png", "-") == expected


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_each_file_has_an_answer_in_order_or_an_error(folder, saved_model, batch_size):
    net = load_saved_model(saved_model)
    files = ["photos/b.png", "gone.png", "photos/notes.txt", "none", "photos/a.PNG", "a\0b"]
    found = list(predict(net, files, batch_size))
    assert [prediction.file for prediction in found] == files
    assert [prediction.error for prediction in found] == [
        "",
        "No such file or directory",
        "no JPEG, PNG, GIF or BMP",
        "a folder without images (.jpg, .jpeg, .png, .bmp, .gif)",
        "",
        "embedded null byte",
    ]
    expected = net.module.signatures["predict"](images=PIXELS[:2])["probabilities"].numpy()
    for prediction, probabilities in zip((found[0], found[4]), expected, strict=True):
        order = np.argsort(-probabilities)[:3]
        assert [label for label, _ in prediction.top] == [NAMES[k] for k in order]
        np.testing.assert_allclose([share for _, share in prediction.top], probabilities[order], atol=1e-6)


def test_lines_of_json(folder, saved_model, capsys):
    prediction_job.run(["photos/b.png", "gone.png"], *load_exported(str(saved_model.parent), None), as_json=True)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["label"] == first["top"][0]["label"]
    assert first["probability"] == first["top"][0]["probability"]
    assert len(first["top"]) == 3
    assert second == {"file": "gone.png", "error": "No such file or directory"}


def test_it_fails_only_if_no_file_could_be_read(folder, saved_model, capsys, monkeypatch):
    with pytest.raises(UserError, match="none of the 2 files could be read as an image"):
        prediction_job.run(["gone.png", "photos/notes.txt"], *load_exported(str(saved_model), None))
    assert "no JPEG, PNG, GIF or BMP" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(UserError, match="no file is named on standard input"):
        find_files(["-"])


def test_a_net_that_takes_no_files_is_refused(tmp_path):
    model = ResidualNetwork(units=(1,), widths=(8,), stem_width=8, classes=4, input_shape=(8, 12, 3))
    path = export_saved_model(model, tmp_path, Preprocessing((99,) * 3, (50,) * 3), NAMES)
    with pytest.raises(UserError, match="takes no files, having no endpoint predict_bytes"):
        prediction_job.run(["a.png"], *load_exported(str(path), None))


def test_a_table_takes_names_as_they_are():
    strange = Prediction("[red]a[/red] :smile:\x1b[2J\udcff.png", (("cat", 0.75), ("dog", 0.125)))
    console = Console(file=io.StringIO(), width=100, markup=False, emoji=False)
    console.print(table([strange, Prediction("b.png", error="damaged")]))
    text = console.file.getvalue()
    assert "[red]a[/red] :smile:�[2J�.png" in text
    assert "75.00%" in text
    assert "dog 12.50%" in text
    assert "error: damaged" in text
    assert printable(os.fsdecode(b"caf\xc3\xa9")) == "café"


def test_the_contact_sheet_shows_what_the_net_sees(folder, saved_model, monkeypatch):
    """One image of one colour: its place on the sheet has that colour."""
    (folder / "red.png").write_bytes(encode(np.full((20, 30, 3), (200, 10, 30), np.uint8), "PNG"))
    monkeypatch.setattr(contact_sheet, "MOST", 2)
    files = find_files(["red.png", "gone$1$.png", "photos"])
    prediction_job.run(files, *load_exported(str(saved_model), None), contact_sheet="sheet.png")
    sheet = (imread("sheet.png")[..., :3] * 255).round()
    share_of_red = (sheet == (200, 10, 30)).all(axis=-1).mean()
    assert 0.2 < share_of_red < 0.5  # Half of it is the other place, and there are titles.
    assert not list(folder.glob(".*"))


def test_the_program_as_a_user_starts_it(folder, saved_model):
    """Names before and behind the flags."""
    process = run_program("predict", "photos/b.png", f"--saved_model={saved_model}", "--json", "gone.png", cwd=folder)
    assert process.returncode == 0, process.stderr
    lines = list(map(json.loads, process.stdout.splitlines()))
    assert [line["file"] for line in lines] == ["photos/b.png", "gone.png"]
    assert messages(process) == []


def test_a_packaged_net_is_asked_by_the_program(folder):
    """A net that has not been exported answers in the same lines of JSON, with the names of its classes."""
    process = run_program("predict", "photos/b.png", "--net=PreResNet20:cifar10", "--json", cwd=folder)
    assert process.returncode == 0, process.stderr
    (line,) = map(json.loads, process.stdout.splitlines())
    labels = [row["label"] for row in line["top"]]
    assert len(set(labels)) == 3
    assert set(labels) <= set(weights_info("PreResNet20", "cifar10").class_names)


def test_flags_of_the_other_form_are_refused(folder, saved_model):
    process = run_program("predict", "photos", f"--saved_model={saved_model}", "--index=3", cwd=folder)
    assert process.returncode == 1
    assert messages(process) == ["error: --index is for an image of a test set, not for files."]
    process = run_program("predict", f"--saved_model={saved_model}", "--json", cwd=folder)
    assert messages(process) == ["error: --json is for files; name some, or - for standard input."]
