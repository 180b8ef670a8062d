"""What is published says one thing everywhere: register, saved_models/, model card and README."""

import csv
import json
import re
from pathlib import Path

import pytest

from keras_preresnet.register import REGISTER

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ROWS = pytest.mark.parametrize("row", REGISTER.values(), ids=lambda row: f"{row.model}_{row.weights}")


def _folder(row):
    return ROOT / "saved_models" / f"{row.model}_{row.weights}".lower()


def _json(path):
    return json.loads(path.read_text())


@ROWS
def test_the_run_the_evaluation_and_the_register_agree(row):
    run, facts = _json(_folder(row) / "run/run.json"), _json(_folder(row) / "evaluation/evaluation.json")
    assert run["status"] == "finished"
    assert (
        (run["settings"]["model"], run["settings"]["data"]) == (row.model, row.weights) == (facts["net"], facts["data"])
    )
    assert run["trainable_parameters"] == row.parameters
    assert tuple(run["class_names"]) == row.class_names
    assert run["data"]["preprocessing"] == {"mean": list(row.mean), "deviation": list(row.deviation)}
    assert facts["images"] == run["data"]["test_images"]
    assert facts["wrong"] == run["result"]["wrong"]
    assert round(facts["error"], 2) == row.test_error


@ROWS
def test_the_model_card_has_the_measured_numbers(row):
    card = (_folder(row) / "README.md").read_text()
    facts = _json(_folder(row) / "evaluation/evaluation.json")
    assert f"| error | {row.test_error:.2f} % ({facts['wrong']:,} wrong) |" in card
    assert f"| expected calibration error (15 bins) | {facts['expected_calibration_error']:.2f} % |" in card
    assert row.sha256 in card
    for export in csv.DictReader((_folder(row) / "formats.csv").open()):
        assert f"| {export['format']} | {int(export['bytes']):,} | {float(export['error']):.2f} % " in card
    for link in re.findall(r"\]\(([^)]+)\)", card):
        assert (_folder(row) / link).exists()
    command = " ".join(card.split("```sh\n")[1].split("\n```")[0].replace("\\\n", "").split())
    assert command == row.recipe


@ROWS
def test_the_table_of_the_readme_has_its_row(row):
    (line,) = (line for line in README.splitlines() if line.startswith(f"| [{row.model}](saved_models/"))
    steps = _json(_folder(row) / "run/run.json")["settings"]["train_steps"]
    for words in (f"{row.parameters:,}", f"{row.test_error:.2f} %", f"{steps:,}"):
        assert f"| {words} |" in line


@ROWS
def test_its_saved_model_is_there_and_no_checkpoint_is(row):
    assert (_folder(row) / "1" / "saved_model.pb").is_file()
    assert not [path for path in _folder(row).rglob("*") if "checkpoints" in path.parts or path.suffix == ".keras"]
