"""What an exported net says of image files: from names to a table, lines of JSON, and a contact sheet."""

import glob
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.table import Table
from rich.text import Text

from training.answering import SavedModelNet
from training.contact_sheet import draw_contact_sheet
from training.errors import UserError
from training.files import printable, require_writable
from training.folders import READ
from training.progress import plain_console

TOP = 3
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Prediction:
    """What the net says of a file.

    Args:
        file: As it was given.
        top: The likeliest classes and their probabilities, best first; nothing if there is an error.
        error: Why it could not be read, or "".
    """

    file: str
    top: tuple[tuple[str, float], ...] = field(default=())
    error: str = ""

    def to_json(self) -> str:
        """Returns a line."""
        if self.error:
            return json.dumps({"file": self.file, "error": self.error})
        (label, probability), *_ = self.top
        top = [{"label": name, "probability": share} for name, share in self.top]
        return json.dumps({"file": self.file, "label": label, "probability": probability, "top": top})


def run(
    files: Sequence[str],
    source: str,
    net: SavedModelNet,
    as_json: bool = False,
    contact_sheet: str | None = None,
    batch_size: int = 32,
) -> None:
    """Asks about every file, and prints a table, or a line of JSON for each as soon as it is known.

    Args:
        files: Their names, see `find_files`.
        source: What is asked, for the user to read: printed above a table.
        net: Exported.
        as_json: Whether to print JSON.
        contact_sheet: PNG to draw the images to, as the net sees them, with their labels.
        batch_size: Files at a time.

    Raises:
        UserError: for a net without `predict_bytes`; if no file at all could be read.
    """
    if "predict_bytes" not in net.module.signatures:
        raise UserError(
            f"{source} takes no files, having no endpoint predict_bytes: its net is not for grey or RGB squares of one "
            "size, or it was exported by an older version; export it anew with training.export."
        )
    if contact_sheet:
        require_writable(Path(contact_sheet).parent, "contact_sheet")
        Path(contact_sheet).parent.mkdir(parents=True, exist_ok=True)
    predictions = []
    for prediction in predict(net, files, batch_size):
        predictions.append(prediction)
        if as_json:
            print(prediction.to_json(), flush=True)
    if not as_json:
        print(f"asked: {printable(source)}")
        plain_console().print(table(predictions))
    if contact_sheet:
        draw_contact_sheet(predictions, net.image_shape, net.short_side, Path(contact_sheet))
    if all(prediction.error for prediction in predictions):
        raise UserError(f"none of the {len(predictions)} files could be read as an image.")


def find_files(names: Sequence[str]) -> list[str]:
    """Returns the files that are meant; a name that leads to none, as it is, so that it gets a row of its own.

    Args:
        names: A file; a folder, for the images in it and in its folders; a pattern with `*`, `?` or `[`, `**` for
            folders of any depth; "-" for a list on standard input, a name a line.

    Raises:
        UserError: if standard input names none.
    """
    files = list(_found(names))
    if not files:
        raise UserError("no file is named on standard input.")
    return files


def _found(names):
    for name in names:
        path = Path(name)
        if name == STANDARD_INPUT:
            lines = (line.rstrip(b"\n") for line in sys.stdin.buffer if line.strip())
            yield from _found([os.fsdecode(line) for line in lines])  # A name need not be text.
        elif path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in READ and file.is_file())
            yield from found or [name]
        elif not path.exists() and glob.has_magic(name):
            yield from sorted(file for file in glob.glob(name, recursive=True) if Path(file).is_file()) or [name]
        else:
            yield name


def predict(net: SavedModelNet, files: Sequence[str], batch_size: int) -> Iterator[Prediction]:
    """Yields what the net says of each file, in order, one that cannot be read or decoded among them."""
    for start in range(0, len(files), batch_size):
        batch = files[start : start + batch_size]
        contents = [_read(file) for file in batch]
        answers = _ask(net, [content for content in contents if isinstance(content, bytes)])
        for file, content in zip(batch, contents, strict=True):
            yield Prediction(file, error=content) if isinstance(content, str) else next(answers)(file)


def _read(file):
    """Its bytes, or an error, text."""
    if Path(file).is_dir():
        return f"a folder without images ({', '.join(READ)})"
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:  # A name with a zero byte is a ValueError.
        return getattr(error, "strerror", None) or str(error)


def _ask(net, contents):
    """Makes of the name of each file, in turn, what is said of its contents."""
    if not contents:
        return
    answers = net.module.signatures["predict_bytes"](image_bytes=tf.constant(contents))
    answers = {name: answer.numpy() for name, answer in answers.items()}
    names = net.class_names or tuple(map(str, range(net.classes)))
    for probabilities, valid, error in zip(answers["probabilities"], answers["valid"], answers["error"], strict=True):
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        top = tuple((names[k], float(probabilities[k])) for k in best)
        yield partial(Prediction, top=top) if valid else partial(Prediction, error=error.decode())


def table(predictions: Sequence[Prediction]) -> Table:
    """Returns a row for each file: its likeliest class, how likely, and the next ones."""
    rows = Table()
    rows.add_column("file", overflow="fold")
    rows.add_column("label", overflow="fold")
    rows.add_column("probability", justify="right")
    rows.add_column("then", overflow="fold")
    for prediction in predictions:
        cells = [f"error: {prediction.error}", "", ""]
        if not prediction.error:
            (label, probability), *others = prediction.top
            then = ", ".join(f"{name} {share:.2%}" for name, share in others)
            cells = [label, f"{probability:.2%}", then]
        rows.add_row(*map(Text, (printable(prediction.file), *cells)))
    return rows
