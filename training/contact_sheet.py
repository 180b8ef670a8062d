"""Many small images on one sheet, each with what was said of it."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from keras_preresnet.views import centre_view, rounded, show_view
from training.files import printable
from training.plots import save_figure

MOST = 100  # Images on a sheet.
COLUMNS = 8


def draw_contact_sheet(predictions: Sequence, image_shape: tuple[int, int, int], short_side: int, path: Path) -> None:
    """Draws the images of the first `MOST` predictions to a PNG, as the net sees them, with label and probability.

    Args:
        predictions: `training.prediction_job.Prediction`s; an error gets an empty place that says it.
        image_shape: Of the images that the net takes.
        short_side: To which files are resized before the central crop.
        path: Of the PNG; it appears at once and whole.
    """
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = predictions[:MOST]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.6 * columns, 1.95 * rows), squeeze=False, layout="constrained"
    )
    for place in axes.flat:
        place.axis("off")
    for place, prediction in zip(axes.flat, shown, strict=False):
        _draw(place, prediction, image_shape, short_side)
    if len(predictions) > MOST:
        figure.suptitle(f"the first {MOST} of {len(predictions)} files")
    save_figure(figure, path)
    plt.close(figure)


def _draw(place, prediction, image_shape, short_side):
    place.set_title(_plain(Path(prediction.file).name), fontsize=7)
    if prediction.error:
        place.set_aspect("equal")
        error = textwrap.fill(_plain(prediction.error, 100), 22)
        place.text(0.5, 0.5, error, fontsize=7, ha="center", va="center")
        return
    side, _, channels = image_shape
    encoded = Path(prediction.file).read_bytes()
    view = show_view(encoded, lambda size: centre_view(size, short_side, side), side, "triangle", channels)
    (label, probability), *_ = prediction.top
    place.imshow(rounded(view).numpy().squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    place.text(
        0.5, -0.04, f"{_plain(label)} {probability:.0%}", fontsize=8, ha="center", va="top", transform=place.transAxes
    )


def _plain(text, length=24):
    """Shortened; matplotlib would read formulas between dollar signs."""
    text = printable(text).replace("$", r"\$")
    return text if len(text) <= length else f"{text[: length - 1]}…"
