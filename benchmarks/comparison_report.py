"""Tables and chart of a comparison."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.contestants import APPLICATIONS, LATENCY, OURS, PEAK, TASKS, TRAINING, Contestant
from benchmarks.processes import Measured
from training.files import write_text, written_at_once
from training.plots import save_figure

OF_A_ROW = ("multiply_adds", "threads")  # Other facts are those of all contestants.

PASSES = {TRAINING: 3}  # Gradients to data and to weights cost as much as the forward pass each.


def frame_of(results: Sequence[Measured]) -> pd.DataFrame:
    """Returns a row for each contestant, task and net; rates are images/s, of one image ms, of the machine FLOP/s."""
    peaks = {r.job.precision: _peak(r) for r in results if r.job.net == "3x3 convolution" and r.facts}
    nets = {r.job.net: r.facts["multiply_adds"] for r in results if "multiply_adds" in r.facts}
    return pd.DataFrame([_row(result, peaks, nets) for result in results])


def _peak(result):
    return statistics.median(result.rates) * result.facts["multiply_adds"]


def _row(result, peaks, nets):
    job = result.job
    rates = [] if result.absent else result.rates  # Of one that has failed halfway none counts.
    row = {
        "task": job.task,
        "net": job.net,
        "batch": job.batch_size,
        "contestant": Contestant(job.package, job.precision, job.setting).name,
        "unit": "GFLOP/s" if job.task == PEAK else TASKS[job.task],
        **_spread("", [_figure(result, rate) for rate in rates]),
        **_spread("first/this ", [first / this for first, this in zip(result.beside, rates, strict=False) if first]),
        "start": result.start,
        **{name: result.seconds.get(name) for name in ("construction", "trace", "first step")},
        "peak_memory": result.peak_memory,
        "note": result.absent,
    }
    if job.net in nets and rates and job.package != APPLICATIONS:
        row["multiply_adds"] = nets[job.net]
        work = statistics.median(rates) * job.batch_size * nets[job.net] * PASSES.get(job.task, 1)
        row["share_of_peak"] = work / peaks[job.precision] if job.precision in peaks else None
    return row


def _figure(result, rate):
    if result.job.task == PEAK:
        return 2e-9 * rate * result.facts["multiply_adds"]
    return 1000 / rate if result.job.task == LATENCY else rate * result.job.batch_size


def _spread(prefix, values):
    if not values:
        return {}
    return {
        f"{prefix}median": statistics.median(values),
        f"{prefix}lowest": min(values),
        f"{prefix}highest": max(values),
    }


def table_of(frame: pd.DataFrame) -> str:
    """Returns the frame as a Markdown table."""
    columns = ("task", "net", "batch", "contestant", "median (lowest to highest)", "first contestant / this")
    columns += ("start, s", "memory, GB", "of the convolutions' peak")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in frame.to_dict("records"):
        cells = [row["task"], row["net"], row["batch"], row["contestant"]]
        if isinstance(row["note"], str):
            cells += [f"not measured: {row['note']}", "", "", "", ""]
        else:
            memory = row["peak_memory"] / 1e9 if pd.notna(row["peak_memory"]) else None
            cells += [
                f"{_text(row, '')} {row['unit']}",
                _text(row, "first/this "),
                _number(row["start"]),
                _number(memory),
                _percent(row.get("share_of_peak")),
            ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _text(row, prefix):
    values = [row.get(f"{prefix}{name}") for name in ("median", "lowest", "highest")]
    if any(value is None or pd.isna(value) for value in values):
        return ""
    median, lowest, highest = map(_number, values)
    return f"{median} ({lowest} to {highest})"


def _number(value):
    if value is None or pd.isna(value):
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _percent(value):
    return "" if value is None or pd.isna(value) else f"{value:.0%}"


def draw_chart(frame: pd.DataFrame, path: Path) -> None:
    """Draws training images/s of every contestant, a panel for each net; readable in grey."""
    shown = frame[(frame["task"] == TRAINING) & frame["note"].isna()]
    panels = list(shown.groupby(["net", "batch"], sort=False))
    figure = Figure(figsize=(9, 1 + 2.2 * max(-(-len(panels) // 2), 1)), layout="constrained")
    figure.suptitle("Training, images/s (median, lowest to highest)" if panels else "No training was measured.")
    all_axes = figure.subplots(-(-len(panels) // 2), 2, squeeze=False).ravel() if panels else []
    for axes, ((net, batch), rows) in zip(all_axes, panels, strict=False):
        rows = rows.iloc[::-1]
        ours = rows["contestant"].str.startswith(OURS)
        spread = [rows["median"] - rows["lowest"], rows["highest"] - rows["median"]]
        axes.barh(rows["contestant"], rows["median"], xerr=spread, color=ours.map({True: "0.3", False: "0.75"}))
        axes.set_title(f"{net}, batch {batch}", fontsize=10)
        axes.tick_params(labelsize=8)
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)
    save_figure(figure, path)


def write_report(results: Sequence[Measured], out: Path) -> pd.DataFrame:
    """Writes table.md, table.csv, results.json and chart.png, and returns the frame that they show."""
    frame = frame_of(results)
    environment = next((r.facts for r in results if r.job.package == OURS and r.facts), {})
    accelerators = environment.get("accelerators")
    about = ", ".join(f"{name} {value}" for name, value in environment.items() if name not in OF_A_ROW)
    about += "" if accelerators else "\n\nNo accelerator here: figures on a GPU are not measured."
    write_text(out / "table.md", f"{about}\n\n{table_of(frame)}")
    with written_at_once(out / "table.csv") as partial:
        frame.to_csv(partial, index=False)
    rows = [{**asdict(result), "job": result.job._asdict()} for result in results]
    write_text(out / "results.json", json.dumps(rows, indent=2) + "\n")
    draw_chart(frame, out / "chart.png")
    return frame
