import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from rich.console import Console

from training.evaluation_report import EvaluationReport
from training.measures import measure_answers


def test_of_many_classes_the_worst_are_printed_and_brackets_are_no_markup():
    names = tuple(f"[red]{k}" for k in range(40))
    answers = measure_answers(np.eye(40)[np.arange(40) - (np.arange(40) % 10 == 3)], np.arange(40))
    facts = {"net": "Tiny", "data": "numbered", "undecodable": 0}
    console = Console(width=100, markup=False, emoji=False)
    with console.capture() as captured:
        EvaluationReport(facts, answers, names).print(console)
    text = captured.get()
    assert "Tiny on numbered: error 10.00 % (4 of 40 images wrong, each counted once)" in text
    assert "the 25 classes of highest error; all 40 are in per_class.csv" in text
    rows = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert rows[:5] == ["[red]3", "[red]13", "[red]23", "[red]33", "[red]0"]
    assert len(rows) == 25


@pytest.mark.parametrize("classes", [2, 25, 26, 300])
def test_figures_of_any_number_of_classes(tmp_path, classes):
    labels = np.arange(classes) % (classes - 1)  # The last class has no image.
    answers = measure_answers(np.eye(classes)[labels[::-1]], labels).rename_axis("index")
    names = tuple(f"$class_{k}" for k in range(classes))
    facts = {"net": "Tiny", "data": "numbered", "undecodable": 0}
    EvaluationReport(facts, answers, names).write(tmp_path, predictions=True)
    written = {path.name for path in tmp_path.iterdir()}
    tables = {"per_class.csv", "confusion_matrix.csv", "predictions.csv"}
    assert written == {"evaluation.json", "confusion_matrix.png", "reliability.png", *tables}
    for name in ("confusion_matrix.png", "reliability.png"):
        grey = tf.io.decode_png((tmp_path / name).read_bytes(), channels=1)
        assert min(grey.shape[:2]) > 300
        assert (np.bincount(grey.numpy().ravel()) > 0).sum() > 10  # Shades: something is drawn.
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    assert predictions.columns.tolist() == ["index", "label", "predicted", "confidence"]
    assert predictions["predicted"].tolist() == [names[k] for k in labels[::-1]]
    assert pd.read_csv(tmp_path / "per_class.csv")["images"].sum() == classes
    counts = pd.read_csv(tmp_path / "confusion_matrix.csv", index_col=0).to_numpy()
    assert (counts.shape, counts.sum()) == ((classes, classes), classes)
