"""The model card of a published net: Markdown, every number of it measured or read from the run's record."""

import dataclasses
import shlex
import statistics

import pandas as pd

from training import markdown
from training.evaluation_report import CLASS_HEADINGS, MOST_CLASSES, EvaluationReport
from training.job import Job
from training.recipes import RECIPES, default_interval, resolve, settings

DEFAULTS = {setting.name: setting.default for setting in dataclasses.fields(Job)}
# Of a run's settings those that are flags of their own: neither the recipe's nor the net's.
OWN_FLAGS = (
    "train_split",
    "test_split",
    "test_fraction",
    "image_size",
    "max_bad_images",
    "sync_batch_norm",
    "deterministic",
    "seed",
    "steps_per_evaluation",
)
MODEL_FLAGS = ("depth", "branch", "design", "shortcut", "widening")

CARD = """# {net} on {data}: {error:.2f} % test error

{parameters:,} parameters; images of {shape} to {count} classes: {classes}.

![training and test error over the steps](run/learning_curve.png)
![images of each true class by predicted class](evaluation/confusion_matrix.png)

## Training

```sh
{command}
```

{training}

It is the net of the last step, not the one of the lowest test error. `run/run.json` has all settings.

## Measured

On all {images:,} test images, each counted once, in float32.

{measures}

The temperature of {temperature} is fitted to the test images; what is said of it was measured on each half of them
at the temperature fitted to the other half. What is published is not scaled: `training.export --temperature` does that.

{exports}

{class_title}

{class_rows}

## Use

Images of 0 to 255, less the mean {mean}, divided by the deviation {deviation} of each channel; the SavedModel does that
itself. {weights}

## Limits

* Every image is answered with one of the {count} classes, whatever it shows; tested were images of {data} alone, none
  of them corrupted, shifted or made to deceive.
* It is one run of one seed ({seed}), and its test error could be watched while it ran.
* The images are not part of this repository, and have the terms of their own makers.
"""


def model_card(
    record: dict, steps: pd.DataFrame, report: EvaluationReport, flipped: dict, formats: pd.DataFrame, weights: str
) -> str:
    """Returns the card.

    Args:
        record: Of the run, run.json.
        steps: Of the run, steps.csv.
        report: Of the float32 net, with temperature scaling.
        flipped: The measures of the mean over mirror images.
        formats: Of each export `format`, `bytes`, `error`, `wrong` and `same_top1`.
        weights: The file of weights, in words.
    """
    names = list(report.class_names)
    more = [f"and {len(names) - MOST_CLASSES} more"] if len(names) > MOST_CLASSES else []
    title, rows = report.class_rows()
    preprocessing = record["data"]["preprocessing"]
    return CARD.format(
        net=report.facts["net"],
        data=markdown.escaped(report.facts["data"]),
        error=report.summary["error"],
        parameters=record["trainable_parameters"],
        shape=" x ".join(map(str, record["data"]["image_shape"])),
        count=len(names),
        classes=", ".join([*map(markdown.escaped, names[:MOST_CLASSES]), *more]),
        command=training_command(record),
        training=markdown.table(("", ""), _training(record, steps)),
        images=report.summary["images"],
        measures=markdown.table(("", ""), _measures(report, flipped)),
        temperature=report.scaling.words,
        exports=markdown.table(("export", "bytes", "error", "same class as the float32 net"), _exports(formats)),
        class_title=title or "The classes:",
        class_rows=markdown.table(CLASS_HEADINGS, rows),
        mean=_numbers(preprocessing["mean"]),
        deviation=_numbers(preprocessing["deviation"]),
        weights=weights,
        seed=record["settings"]["seed"],
    )


def _training(record, steps):
    facts, data, machine = record["settings"], record["data"], record["environment"]
    rate = statistics.median(steps["images_per_second"])
    seen = facts["train_steps"] * facts["batch_size"]
    paper = RECIPES["paper_cifar"]
    share = f", {seen / (paper.train_steps * paper.batch_size):.0%} of the paper's" if "cifar" in data["name"] else ""
    devices = ", ".join(machine["accelerators"]) or "no accelerator"
    versions = [f"{name} {machine[name]}" for name in ("keras_preresnet", "tensorflow", "keras")]
    yield "data", f"{data['name']} {data['version']}, {data['train_images']:,} training images"
    yield "sha256 of the data", data["sha256"]
    yield "begun from", facts["init_from"] or "random weights"
    yield "length", f"{facts['train_steps']:,} steps of {facts['batch_size']} images{share}"
    yield "epochs", f"{seen / data['train_images']:.1f}"
    yield "precision", f"{facts['precision']} in training"
    yield "replicas", str(facts["replicas"])
    yield "hours", f"{seen / rate / 3600:.1f}, at the median rate of {rate:,.0f} images/s"
    yield "machine", f"{machine['processor']}, {machine['cores']} cores, {devices}"
    yield "versions", ", ".join(versions)


def _measures(report, flipped):
    summary, scaled = report.summary, report.scaled
    yield "error", _error(summary)
    if "top5_error" in summary:
        yield "top-5 error", f"{summary['top5_error']:.2f} %"
    yield "error of the mean of the logits of an image and its mirror image", _error(flipped)
    for words, measures in (("", summary), (" after temperature scaling", scaled)):
        yield f"cross entropy{words}", f"{measures['loss']:.4f}"
        yield f"expected calibration error{words} (15 bins)", f"{measures['expected_calibration_error']:.2f} %"


def _exports(formats):
    for row in formats.to_dict("records"):
        yield row["format"], f"{row['bytes']:,}", _error(row), f"{row['same_top1']:,}"


def _error(measures):
    return f"{measures['error']:.2f} % ({measures['wrong']:,} wrong)"


def _numbers(values):
    return ", ".join(f"{value:g}" for value in values)


def training_command(record: dict) -> str:
    """Returns the command that makes the run of this record again; what is the default is left out."""
    facts, options = record["settings"], record["settings"]["model_options"]
    given = {name: facts[name] for name in ("data", "model", "recipe", "precision")}
    own = DEFAULTS | {"steps_per_evaluation": default_interval(record["data"]["train_images"], facts["batch_size"])}
    given |= {name: facts[name] for name in OWN_FLAGS if facts[name] not in (None, own[name])}
    if facts["init_from"]:
        given["init_from"] = facts["init_from"].split(", sha256")[0]
    given |= {name: options[name] for name in MODEL_FLAGS if options.get(name)}
    if options.get("shortcut_options"):
        given["shortcut_options"] = [f"{name}={value}" for name, value in options["shortcut_options"].items()]
    if options.get("remat"):
        given["remat"] = "unit"
    machine = record["environment"]
    if facts["replicas"] > 1 and not machine["accelerators"] and machine["workers"] == 1:
        given["cpu_replicas"] = facts["replicas"]
    given |= _overrides(facts, record["data"]["train_images"])
    flags = (shlex.quote(f"--{name}={_as_flag(value)}") for name, value in given.items())
    return " \\\n    ".join(["python -m training.train", *flags])


def _overrides(facts, train_images):
    """The numbers that the recipe has not by itself: batch size and length come first, for others move with them."""
    given = {}
    for name in dict.fromkeys(("batch_size", "train_steps", *(setting.name for setting in settings()))):
        recipe, _ = resolve(facts["recipe"], given, None, train_images)
        value = tuple(facts[name]) if isinstance(facts[name], list) else facts[name]
        if value != getattr(recipe, name):
            given[name] = value
    return given


def _as_flag(value):
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
