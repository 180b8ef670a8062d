"""The end of a run: the net, its SavedModel, and what is said of them."""

import dataclasses
from pathlib import Path

import keras

from keras_preresnet.export import export_saved_model
from training.data import ImageData
from training.encoded import EncodedImages
from training.files import disk_errors
from training.loop import Outcome, save_keras
from training.runs import RunFolder


def finish_run(
    data: ImageData, folder: RunFolder, saved_models: Path | None, model: keras.Model, outcome: Outcome
) -> None:
    """Writes the trained net, its SavedModel and the result of the run, and prints them.

    Args:
        data: What it was trained on.
        folder: Of the run.
        saved_models: Folder of the versions of its SavedModel, or None for no export.
        model: In float32.
        outcome: Of the training.
    """
    with disk_errors(folder.path):
        save_keras(model, folder.path / "model.keras")
        exported = _export(model, saved_models, data) if saved_models else None
        score = outcome.score
        result = dataclasses.asdict(score) | {"test_error": score.error, "best_test_error": outcome.best_error}
        folder.finish({**result, "best_step": outcome.best_step, "bad_images": list(data.bad_images.names)})
    print(f"test accuracy {100 - score.error:.2f} % ({score.images - score.wrong} of {score.images} test images)")
    if data.bad_images.names:
        print(f"left out: {data.bad_images}")
    print(f"run folder {folder.path}{_said_of(exported)}")


def _said_of(exported):
    """Where the SavedModel is, and what it takes the place of: of a folder of versions the newest is taken."""
    if exported is None:
        return ""
    before = "" if exported.name == "1" else f", from now on the one that {exported.parent} stands for"
    return f", SavedModel {exported}{before}"


def _export(model, saved_models, data):
    short_side = data.test.evaluation_short_side if isinstance(data.test, EncodedImages) else None
    return export_saved_model(model, saved_models, data.preprocessing, data.class_names, short_side)
