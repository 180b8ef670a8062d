"""The measures of a net on a test set, printed and written."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from training.environment import describe_environment
from training.evaluation_plots import draw_confusion_matrix, draw_reliability_diagram
from training.files import write_text
from training.measures import calibration_bins, confusion_table, per_class_table, summarize
from training.temperature import TemperatureScaling

CHANGED_BY_TEMPERATURE = "loss", "expected_calibration_error"
CLASS_HEADINGS = ("class", "images", "error %", "precision %", "recall %", "most often taken for")
MOST_CLASSES = 25  # Rows of the printed table; all of them are in per_class.csv.


@dataclass(frozen=True)
class EvaluationReport:
    """What is said of a net.

    Args:
        facts: What was tested on what, `net` and `data` among it; no path and no host name.
        answers: Rows of `training.measures.measure_answers`, by the index of the image.
        class_names: In the order of the logits.
        scaling: What temperature scaling does, if it was asked for.
    """

    facts: dict
    answers: pd.DataFrame
    class_names: tuple[str, ...]
    scaling: TemperatureScaling | None = None

    @cached_property
    def summary(self) -> dict:
        """The measures of the whole set, see `training.measures.summarize`."""
        return summarize(self.answers, len(self.class_names))

    @cached_property
    def classes(self) -> pd.DataFrame:
        """The measures of each class, see `training.measures.per_class_table`."""
        return per_class_table(self.answers, self.class_names)

    @cached_property
    def scaled(self) -> dict | None:
        """The temperature, and the measures after it; None if it was not asked for."""
        if self.scaling is None:
            return None
        summary = summarize(self.scaling.answers, len(self.class_names))
        return {"temperature": self.scaling.temperature} | {key: summary[key] for key in CHANGED_BY_TEMPERATURE}

    @property
    def title(self) -> str:
        """The net, the data and the error in a line."""
        flipped = ", mean over mirror images" if self.facts.get("test_time_flip") else ""
        return f"{self.facts['net']} on {self.facts['data']}{flipped}: error {self.summary['error']:.2f} %"

    def print(self, console: Console) -> None:
        """Prints the measures, and those of each class, of many the worst."""
        summary = self.summary
        console.print(f"{self.title} ({summary['wrong']} of {summary['images']} images wrong, each counted once)")
        if "top5_error" in summary:
            console.print(f"top-5 error {summary['top5_error']:.2f} %")
        console.print(f"loss (cross entropy) {summary['loss']:.4f}")
        console.print(
            f"expected calibration error {summary['expected_calibration_error']:.2f} % "
            "(15 bins of confidence, Guo et al. 2017)"
        )
        if self.scaled:
            console.print(
                f"at temperature {self.scaling.words}: loss {self.scaled['loss']:.4f}, "
                f"expected calibration error {self.scaled['expected_calibration_error']:.2f} % "
                "(each half of the images at the temperature fitted to the other)"
            )
        if self.facts["undecodable"]:
            console.print(f"{self.facts['undecodable']} images could not be decoded and are not counted")
        console.print(self._class_table())

    def class_rows(self) -> tuple[str | None, list[tuple[str, ...]]]:
        """Returns the rows of the classes under `CLASS_HEADINGS`, of many the worst, and what then has to be said."""
        rows, title = self.classes, None
        if len(rows) > MOST_CLASSES:
            title = f"the {MOST_CLASSES} classes of highest error; all {len(rows)} are in per_class.csv"
            rows = rows.sort_values("error", ascending=False, kind="stable", na_position="last")[:MOST_CLASSES]
        cells = []
        for row in rows.to_dict("records"):
            shares = [_percent(row[key]) for key in ("error", "precision", "recall")]
            confusion = f"{row['confused_with']} ({row['times']})" if row["times"] else ""
            cells.append((row["class"], f"{row['images']:,}", *shares, confusion))
        return title, cells

    def _class_table(self):
        title, rows = self.class_rows()
        table = Table(title=title, title_justify="left")
        for heading in CLASS_HEADINGS:
            is_text = heading in (CLASS_HEADINGS[0], CLASS_HEADINGS[-1])
            table.add_column(heading, overflow="fold") if is_text else table.add_column(heading, justify="right")
        for row in rows:
            table.add_row(*row)
        return table

    def write(self, folder: Path, predictions: bool) -> None:
        """Writes the files that `training.evaluate` names, each at once, to a folder that is made if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        bins = _bins(self.answers)
        confusions = confusion_table(self.answers, self.class_names)
        write_text(folder / "per_class.csv", self.classes.to_csv(index=False))
        write_text(folder / "confusion_matrix.csv", confusions.to_csv())
        if predictions:
            write_text(folder / "predictions.csv", self._predictions().to_csv())
        draw_confusion_matrix(confusions, folder / "confusion_matrix.png", self.title)
        draw_reliability_diagram(bins, folder / "reliability.png", self.title)
        if self.scaling:
            title = f"{self.title}, at temperature {self.scaling.temperature:.3f}"
            draw_reliability_diagram(_bins(self.scaling.answers), folder / "reliability_scaled.png", title)
        facts = {
            **self.facts,
            "percent": [key for key in self.summary if key.endswith("error")],  # Of what follows, is in percent.
            **self.summary,
            "temperature_scaling": self.scaled,
            "calibration_bins": json.loads(bins.to_json(orient="records")),  # An empty bin has null for NaN.
            "environment": describe_environment(),
        }
        write_text(folder / "evaluation.json", json.dumps(facts, indent=2, allow_nan=False) + "\n")

    def _predictions(self):
        names = pd.Series(self.class_names)
        return pd.DataFrame(
            {
                "label": names[self.answers["label"]].to_numpy(),
                "predicted": names[self.answers["predicted"]].to_numpy(),
                "confidence": self.answers["confidence"].to_numpy(),
            },
            index=self.answers.index,
        )


def _bins(answers):
    return calibration_bins(answers["confidence"], answers["rank"] == 0)


def _percent(value):
    return "-" if pd.isna(value) else f"{value:.2f}"
