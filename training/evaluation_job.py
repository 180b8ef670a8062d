"""The evaluation of a net: from where it lies to its measures, every test image counted once, in float32."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from rich.progress import track

from training.answering import Answer, KerasNet, SavedModelNet, load_net
from training.augmentation import without_draws
from training.data import ImageData, is_arrays, is_folder, load_data
from training.data_flags import NetJob
from training.errors import Diverged, UserError
from training.evaluation_report import EvaluationReport
from training.file_net import FileNet
from training.files import require_writable
from training.folders import folder_title
from training.measures import measure_answers
from training.progress import plain_console
from training.shapes import describe
from training.temperature import scale_temperature

# What decides which images are tested on, and how they are read. By default all is as in the net's run: other settings
# could hold out images that it was trained on.
OF_ONE_SET = ("train_split", "test_split", "image_size")
OF_ANY_SET = ("augmentation", "test_fraction", "seed", "max_bad_images")

LOADED_FROM = {KerasNet: "keras", SavedModelNet: "SavedModel", FileNet: "file"}


@dataclass(frozen=True)
class EvaluationJob(NetJob):
    """The flags of `training.evaluate`, as plain values."""

    crop: int | None = None
    batch_size: int = 100
    output_dir: str | None = None
    predictions: bool = False
    test_time_flip: bool = False
    temperature_scaling: bool = False


def run(job: EvaluationJob) -> None:
    """Tests the net, prints the measures and writes them to the job's folder.

    Raises:
        UserError: for a net that cannot be loaded or does not fit the data, before anything is written; for logits that
            are not finite; for more undecodable images than are allowed.
    """
    folder = Path(job.output_dir) if job.output_dir else default_folder(job.net, job.test_time_flip)
    report = measure(job, folder)
    report.print(plain_console())
    report.write(folder, job.predictions)
    print(f"written to {folder}")


def measure(job: EvaluationJob, folder: Path) -> EvaluationReport:
    """Returns the measures of the job's net; raises as `run` does, also if `folder` could not be written to."""
    if job.test_time_flip and job.temperature_scaling:
        raise UserError(
            "--test_time_flip and --temperature_scaling exclude each other: the temperature is for an export, which "
            "sees no mirror image; give one of them."
        )
    tf.config.experimental.enable_tensor_float_32_execution(False)  # Ten bits of a GPU's short float32 are fewer.
    net = load_net(job.net)
    if job.crop is not None:
        net = net.for_side(job.crop)
    data, settings = load_test_data(job, net, job.crop)
    split = data.test if job.crop is None else _cropped(data, job.crop)
    batches = test_batches(split, job.batch_size)
    image_shape = tuple(batches.element_spec[0].shape[1:])
    require_fit(net, data, image_shape)
    require_writable(folder, "output_dir")
    answer = net.answering(lambda: data.preprocessing)
    answer = with_mirror_images(answer) if job.test_time_flip else answer
    answers, logits = answer_test_images(answer, batches, -(-len(split) // job.batch_size))
    data.bad_images.check()
    facts = {
        "net": net.name,
        "loaded_from": LOADED_FROM[type(net)],
        "data": data.name,
        "test_split": settings.get("test_split"),
        "image_shape": list(image_shape),
        "crop": job.crop,
        "test_time_flip": job.test_time_flip,
        "undecodable": len(split) - len(answers),
    }
    scaling = scale_temperature(logits, answers) if job.temperature_scaling else None
    return EvaluationReport(facts, answers, tuple(data.class_names), scaling)


def load_test_data(
    job: NetJob, net: KerasNet | SavedModelNet | FileNet, crop: int | None = None
) -> tuple[ImageData, dict]:
    """Returns the data of the net's run unless the job says otherwise, and the settings it was loaded with."""
    known = net.record.get("settings", {})
    name = job.data or known.get("data")
    if name is None:
        raise UserError(f"--data is needed: {job.net} does not say what it was trained on.")
    if job.data is None and net.record.get("data", {}).get("version") in ("folder", "npz"):
        raise UserError(f"--data is needed: {job.net} was trained on {name}; give its path.")  # Which no record holds.
    settings = {key: known.get(key) for key in (*OF_ANY_SET, *OF_ONE_SET)}
    if title(name) != known.get("data"):
        settings.update({"train_split": None, "test_split": None, "image_size": crop or _side(net, name)})
    if crop is not None and not known:
        settings["augmentation"] = "scale"  # Encoded, so that they can be cropped.
    if is_arrays(name):  # Which refuse what is for other sets, and is nothing that the user has given.
        settings |= {"max_bad_images": None, "test_fraction": None if name == "digits" else settings["test_fraction"]}
        if known:
            settings["augmentation"] = None
    given = {key: value for key in settings if (value := getattr(job, key)) is not None}
    settings = {key: value for key, value in {**settings, **given}.items() if value is not None}
    return load_data(name, job.data_dir, **settings), settings


def title(name: str) -> str:
    """Returns what a run calls its data: of a folder or a file the name alone, of a TFDS set no version."""
    if name.endswith(".npz"):
        return Path(name).name
    return folder_title(name) if is_folder(name) else name.split(":")[0]


def _side(net, name):
    """To which images are resized; those of arrays cannot be."""
    height, width, _ = net.image_shape
    return height if height == width and not is_arrays(name) else None


def _cropped(data, side):
    if not hasattr(data.test, "with_evaluation_size"):
        raise UserError(
            f"--crop={side} is refused: the images of {data.name} are kept in memory at "
            f"{describe(data.test.image_shape)}; --augmentation=scale crops those of a folder or a TFDS set."
        )
    return data.test.with_evaluation_size(side, short_side=side)


def require_fit(net: KerasNet | SavedModelNet | FileNet, data: ImageData, image_shape: tuple[int, int, int]) -> None:
    """Raises UserError unless the net has the classes of the data and takes its images, naming both."""
    names = tuple(data.class_names)
    if net.classes != len(names):
        raise UserError(f"{net.name} tells {net.classes} classes apart, {data.name} has {len(names)}: no match.")
    if net.class_names not in (None, names):
        ours, theirs = next(pair for pair in zip(net.class_names, names, strict=True) if pair[0] != pair[1])
        raise UserError(f"the classes of {net.name} are not those of {data.name}: {ours!r} there is {theirs!r} here.")
    if any(side not in (None, given) for side, given in zip(net.image_shape, image_shape, strict=True)):
        raise UserError(
            f"{net.name} takes images of {describe(net.image_shape)}, those of {data.name} are "
            f"{describe(image_shape)}: no match."
        )


def default_folder(net: str, test_time_flip: bool = False) -> Path:
    """Returns the folder `evaluation` of the net's run; if there is no run, `evaluation/<net>` where the process is.

    Of best.keras in a run it is `evaluation_best`, beside that of the net at the end; of the mean over mirror images
    the name ends in `_flip`.
    """
    folder = _folder_of(net)
    return folder.with_name(f"{folder.name}_flip") if test_time_flip else folder


def _folder_of(net):
    path = Path(net)
    run_folder = path if path.is_dir() else path.parent
    if (run_folder / "run.json").exists():
        is_other = path.suffix == ".keras" and path.name != "model.keras"
        return run_folder / (f"evaluation_{path.stem}" if is_other else "evaluation")
    parts = path.resolve().parts[-2:] if path.exists() else [net.replace(":", "_").replace("/", "_")]
    return Path("evaluation") / "_".join(parts).lower()


def test_batches(split, batch_size: int) -> tf.data.Dataset:
    """Returns the images, labels and weights of a split in order; weight 0 marks an image that cannot be decoded.

    The only place where images are read. The last batch may be smaller. Evaluation draws nothing at random.
    """
    rows = tf.data.Dataset.range(len(split)).batch(batch_size).map(without_draws)
    return split.dataset(rows, training=False)


def with_mirror_images(answer: Answer) -> Answer:
    """Returns the net as a function whose logits are the mean of those of an image and of its mirror image."""
    return lambda images: (answer(images) + answer(tf.reverse(images, axis=[2]))) / 2


def answer_test_images(answer: Answer, batches: Iterable, count: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Asks about every image once.

    Args:
        answer: The net.
        batches: Of images, labels and weights, see `test_batches`.
        count: How many batches there are.

    Returns:
        The rows of `training.measures.measure_answers`, by the `index` of the image in the split, and their logits;
        no row for an image of weight 0.

    Raises:
        Diverged: naming the image, if the logits are not finite.
        UserError: if no image can be decoded.
    """
    tables, all_logits, begin, console = [], [], 0, plain_console()
    looks = {"transient": True, "console": console, "disable": not console.is_terminal}
    for images, labels, weights in track(batches, "test images", total=count, **looks):
        counted = np.flatnonzero(weights.numpy() > 0)
        index = pd.Index(begin + counted, name="index")
        logits = answer(images)[counted]
        _require_finite(logits, index)
        tables.append(measure_answers(logits, labels.numpy()[counted]).set_index(index))
        all_logits.append(logits)
        begin += len(labels)
    if not sum(map(len, tables)):
        raise UserError("no test image could be decoded.")
    return pd.concat(tables), np.concatenate(all_logits)


def _require_finite(logits, index):
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise Diverged(
            f"the net's logits of test image {index[~finite][0]} are infinite or NaN, so that nothing can be measured",
            "It has diverged, or was never trained: train it again.",
        )
