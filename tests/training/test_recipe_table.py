"""The recipe study: its rows are what their names say, none sees the test set, and it runs as the paper's tables do."""

import dataclasses
import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import tensorflow as tf
from programs import messages, run_program
from table_helpers import lines_of, reproduction, result
from training_helpers import ManySquares

from training.errors import UserError
from training.job import Job
from training.recipe_table import RECIPE_TABLE
from training.recipes import resolve
from training.reproduction import choose_table
from training.reproduction_report import frame, list_rows, markdown, notes
from training.scales import Scale
from training.table_results import EXPLODED, Line, read_run
from training.tables import TABLES

BASE = {
    "batch_size": 128,
    "train_steps": 5273,  # 15 * 45,000 / 128 = 5273.4
    "schedule": "cosine",
    "learning_rate": 0.2,
    "learning_rate_drops": (),
    "drop_factor": 0.1,
    "warmup": "linear",
    "warmup_steps": 176,  # Half an epoch, as the recipe's 391 of 11,719.
    "warmup_learning_rate": 0.02,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "exclude_from_weight_decay": (),
    "clip_norm": 0.0,
    "label_smoothing": 0.0,
    "ema_momentum": 0.0,
    "head_steps": 0,
    "body_rate": 1.0,
    "accumulation_steps": 1,
    "augmentation": "translation",
    "crop_padding": 2,
    "flip": True,
    "epochs": None,
}


def _of_batch(batch_size, train_steps, warmup_steps, rate, warmup_rate):
    return {
        "batch_size": batch_size,
        "train_steps": train_steps,
        "warmup_steps": warmup_steps,
        "learning_rate": pytest.approx(rate),
        "warmup_learning_rate": pytest.approx(warmup_rate),
    }


DIFFERENCES = {
    "base": {},
    "batch_64": _of_batch(64, 10_547, 352, 0.1, 0.01),
    "batch_256": _of_batch(256, 2637, 88, 0.4, 0.04),
    "batch_512": _of_batch(512, 1318, 44, 0.8, 0.08),
    "rate_0.05": {"learning_rate": 0.05},
    "rate_0.1": {"learning_rate": 0.1},
    "rate_0.4": {"learning_rate": 0.4},
    "decay_1e-4": {"weight_decay": 1e-4},
    "decay_2e-4": {"weight_decay": 2e-4},
    "decay_1e-3": {"weight_decay": 1e-3},
    "schedule_linear": {"schedule": "linear"},
    "schedule_steps": {"schedule": "steps", "learning_rate_drops": (2636, 3955)},
    "no_augmentation": {"augmentation": "none"},
    "flip_only": {"crop_padding": 0},
    "padding_4": {"crop_padding": 4},
    "label_smoothing_0.1": {"label_smoothing": 0.1},
    "moving_average": {"ema_momentum": 0.998},
}


def _recipe(job):
    return dataclasses.asdict(resolve(job.recipe, job.recipe_overrides, job.epochs, 45_000)[0])


def test_there_is_a_row_for_each_thing_that_is_varied():
    assert [row.name for row in RECIPE_TABLE.rows] == list(DIFFERENCES)
    assert all(re.fullmatch(r"[\w.-]+", row.name) for row in RECIPE_TABLE.rows)


@pytest.mark.parametrize("row", RECIPE_TABLE.rows, ids=lambda row: row.name)
def test_a_row_differs_from_the_first_in_what_its_name_says_and_never_sees_the_test_set(row):
    job = Scale().job(row, 1, "run")
    assert _recipe(job) == {**BASE, **DIFFERENCES[row.name]}
    assert job == Job(
        "cifar10",
        "PreResNet20",
        recipe="quick",
        recipe_overrides=row.overrides,
        epochs=15,
        train_split="train[:45000]",
        test_split="train[45000:]",
        run_dir="run",
        export=False,
    )


def test_fewer_steps_and_another_batch_keep_the_proportions():
    steps = _recipe(Scale(train_steps=100).job(RECIPE_TABLE["schedule_steps"], 1, "run"))
    assert (steps["train_steps"], steps["warmup_steps"], steps["learning_rate_drops"]) == (100, 3, (50, 75))
    halved = Scale(batch_size=64)
    assert _recipe(halved.job(RECIPE_TABLE["base"], 1, "run"))["learning_rate"] == pytest.approx(0.1)
    assert _recipe(halved.job(RECIPE_TABLE["rate_0.4"], 1, "run"))["learning_rate"] == pytest.approx(0.2)
    words = "--batch_size=64 is refused for the row batch_256, which has one of its own; --rows leaves it out"
    with pytest.raises(UserError, match=words):
        halved.job(RECIPE_TABLE["batch_256"], 1, "run")


@pytest.mark.parametrize(
    ("scale", "words", "has_splits"),
    [
        (Scale(), "full: 15 epochs, depth 20", True),
        (Scale("20", data="cifar10:3.0.2"), "full: 15 epochs, depth 20", True),
        (Scale("8", 2000), "2,000 steps instead of 15 epochs, depth 8 of 20", True),
        (Scale(data="cifar100", precision="mixed_bfloat16"), "cifar100 instead of cifar10, in mixed_bfloat16", True),
        (Scale(data="a/b.npz"), "b.npz instead of cifar10, tested on its own test images", False),
        (Scale(data="digits"), "digits instead of cifar10, tested on its own test images", False),
    ],
)
def test_all_that_is_not_as_in_the_study_is_said(scale, words, has_splits):
    for row in RECIPE_TABLE.rows:
        assert scale.words(row, row.paper[0]) == words
        job = scale.job(row, 1, "run")
        splits = ("train[:45000]", "train[45000:]") if has_splits else (None, None)
        assert (job.train_split, job.test_split) == splits


def _lines():
    """A good row of three runs, one that exploded, and the others not run."""
    base, fast = RECIPE_TABLE["base"], RECIPE_TABLE["rate_0.4"]
    runs = [result(k, error, base, curve=((10, 50.0, 60.0), (20, 3.0 + k, error))) for k, error in enumerate((9, 8, 7))]
    return lines_of(RECIPE_TABLE, {"base": tuple(runs), "rate_0.4": (result(1, None, fast, EXPLODED),)})


def test_the_report_has_training_errors_and_no_column_of_the_paper():
    text = markdown(RECIPE_TABLE, _lines())
    head, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert head == "| row | net | training error | test error | scale |"
    assert rows[0] == "| base | PreResNet20 | 4.00 | 8.00 (8.00 ± 1.00) | full, 3 runs |"
    assert rows[1] == "| batch_64 | PreResNet20, batch_size=64 |  | not run |  |"
    assert rows[6] == "| rate_0.4 | PreResNet20, learning_rate=0.4 |  | fail (the loss exploded) | full |"
    assert text.startswith("# Study of recipes: 15 epochs of PreResNet20, one setting of the recipe changed\n")
    assert "trained on train[:45000] of cifar10, tested on train[45000:], and not on its test set" in text
    assert "paper" not in text
    table = pd.read_csv(io.StringIO(frame(_lines()).to_csv(index=False))).set_index("row")
    assert not [column for column in table if "paper" in column]
    assert table.loc["base", ["table", "training_error", "error", "runs"]].tolist() == ["recipes", 4.0, 8.0, 3]


def test_it_says_what_its_lowest_error_is_not():
    """Of the rows two have run."""
    words = "lower than it would be on new images: what looks better wants further seeds"
    assert [note for note in notes(RECIPE_TABLE, _lines()) if f"The lowest of 2 errors is {words}" in note]
    assert any("base was chosen on the same images" in note for note in notes(RECIPE_TABLE, _lines()))
    alone = [line for line in _lines() if line.name == "base"]
    assert not any("lowest" in note for note in [*notes(RECIPE_TABLE, alone), *notes(TABLES[1], _lines())])
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    assert f"The lowest of {len(RECIPE_TABLE.rows)} errors is lower" in text


def test_it_says_whether_it_is_whole():
    whole = [line for line in _lines() if line.row.name == "base"]
    assert not any("Not at" in note for note in notes(RECIPE_TABLE, whole))
    small = [dataclasses.replace(line, scale="2 steps instead of 15 epochs") for line in whole]
    assert notes(RECIPE_TABLE, small)[0] == "Not at the scale of the table: beside each result stands its scale."


def test_its_rows_are_listed(capsys):
    list_rows(RECIPE_TABLE, RECIPE_TABLE.rows)
    title, first, *_, last = capsys.readouterr().out.splitlines()
    assert title == "Study of recipes: 15 epochs of PreResNet20, one setting of the recipe changed"
    where = "recipe quick, 15 epochs, on train[:45000] of cifar10, tested on train[45000:]"
    assert first == f"  base: PreResNet20, {where}"
    assert last == f"  moving_average: PreResNet20, ema_momentum=0.998, {where}"


def test_the_program_lists_it_and_refuses_a_table_that_is_none(tmp_path):
    process = run_program("reproduce", "--table=recipes", "--list", "--rows=padding_4", cwd=tmp_path)
    assert (process.returncode, len(process.stdout.splitlines())) == (0, 2), process.stderr
    process = run_program("reproduce", "--table=recipe", cwd=tmp_path)
    assert (process.returncode, process.stdout) == (1, "")
    assert messages(process) == ["error: --table=recipe is unknown; allowed: 1, 2, 3, 4, 5, recipes."]
    assert not list(tmp_path.iterdir())


def test_tables_are_chosen_by_their_number_or_word():
    assert choose_table("3") is TABLES[3]
    assert choose_table("recipes") is RECIPE_TABLE
    assert [table.folder_name for table in (TABLES[3], RECIPE_TABLE)] == ["table3", "recipes"]


def _on_squares(folder, *names):
    """The study of 100 training and 20 test images, which lie in a folder of TFDS, at the smallest scale."""
    parts = {"data": ManySquares.name, "train_split": "train[:90]", "test_split": "train[90:]"}
    rows = tuple(dataclasses.replace(row, **parts) for row in RECIPE_TABLE.rows)
    plan = reproduction(
        dataclasses.replace(RECIPE_TABLE, rows=rows), folder / "study", None, names or ("all",), batch_size=None
    )
    return dataclasses.replace(plan, data_dir=str(folder / "tfds"))


def _records(folder):
    return {path.parts[-3]: json.loads(path.read_text()) for path in folder.glob("study/*/run1/run.json")}


def test_it_runs_on_parts_of_the_training_set_and_goes_on(tmp_path, capsys):
    tf.get_logger().setLevel("ERROR")
    names = ("base", "batch_64", "schedule_steps")
    lines = {line.name: line for line in _on_squares(tmp_path, *names).run()}
    records = _records(tmp_path)
    assert records.keys() == set(names)
    for name, record in records.items():
        assert (record["data"]["train_images"], record["data"]["test_images"]) == (90, 10)
        assert record["settings"]["test_split"] == "train[90:]"
        assert lines[name].here == f"{record['result']['test_error']:.2f}"
        assert lines[name].training_error == pytest.approx(lines[name].runs[0].curve["train_error"].iloc[-1])
        assert lines[name].scale_of_runs == "2 steps instead of 15 epochs, depth 8 of 20"
    assert records["schedule_steps"]["settings"]["learning_rate_drops"] == [1, 2]
    assert records["batch_64"]["settings"]["batch_size"] == 64
    assert json.loads((tmp_path / "study" / "table.json").read_text())["table"] == "recipes"
    page = (tmp_path / "study" / "table.html").read_text()
    headings = re.findall(r"<button type=\"button\">(.*?)</button></th>", page)
    assert headings == ["row", "net", "training error (%)", "test error (%)", "scale"]
    printed = capsys.readouterr().out
    assert "table recipes: 3 of 3 runs to make" in printed
    assert re.search(r"^base: [\d.]+; 2 steps instead of 15 epochs, depth 8 of 20$", printed, re.MULTILINE)
    _on_squares(tmp_path, *names).run()
    assert "table recipes: 0 of 3 runs to make" in capsys.readouterr().out


def test_a_run_that_was_tested_on_other_images_is_refused(tmp_path):
    row, scale = RECIPE_TABLE["base"], Scale()
    settings = {**_recipe(scale.job(row, 1, "run")), "data": "cifar10", "model": "PreResNet20", "model_options": {}}
    settings |= {"recipe": "quick", "precision": "float32", "seed": 0, "image_size": None}
    record = {"status": "finished", "settings": settings, "data": {"train_images": 45_000}, "result": {"test_error": 9}}
    path = tmp_path / "base" / "run1"
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps(record))
    words = r"train_split \(None there, train\[:45000\] now\), test_split \(None there, train\[45000:\] now\)\."
    with pytest.raises(UserError, match=words):
        read_run(row, 1, scale, tmp_path)
    settings |= {"train_split": "train[:45000]", "test_split": "train[45000:]"}
    (path / "run.json").write_text(json.dumps(record))
    run = read_run(row, 1, scale, tmp_path)
    assert Line(row, row.paper[0], RECIPE_TABLE, (run,), "full").here == "9.00"


@pytest.mark.slow
def test_every_row_runs(tmp_path):
    tf.get_logger().setLevel("ERROR")
    lines = _on_squares(tmp_path).run()
    assert _records(tmp_path).keys() == DIFFERENCES.keys()
    assert all(line.errors for line in lines)
