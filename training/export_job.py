"""The export of a trained net: each ONNX and LiteRT file compared with it on real images before it gets its name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_preresnet.export import export_saved_model, require_temperature
from keras_preresnet.export_formats import FORMATS, Disagreement, export_file
from keras_preresnet.runtimes import require_package
from keras_preresnet.warmup import WARMUP_PACKAGE
from training.answering import load_exportable
from training.augmentation import without_draws
from training.data import Images
from training.data_flags import NetJob
from training.encoded import EncodedImages
from training.errors import UserError, user_errors
from training.evaluation_job import load_test_data, require_fit
from training.files import require_writable

SAVED_MODEL = "saved_model"
ALL_FORMATS = (SAVED_MODEL, *FORMATS)
INT8 = "litert_int8"
BATCH = 100  # Images at a time.


@dataclass(frozen=True)
class ExportJob(NetJob):
    """The flags of `training.export`, as plain values."""

    output_dir: str
    formats: tuple[str, ...] = (SAVED_MODEL,)
    test_images: int = 1000
    calibration_images: int = 500
    warmup: bool = True
    temperature: float = 1.0


def run(job: ExportJob) -> None:
    """Writes the artifacts, and prints where they are and how they agree with the net.

    Raises:
        UserError: for a net, data or formats that do not fit, a package that is missing, or a file that exists already,
            before anything is written; for an artifact that does not answer as the net does, which is not left behind.
    """
    folder = Path(job.output_dir)
    others = [name for name in dict.fromkeys(job.formats) if name != SAVED_MODEL]
    _require_possible(job, folder)
    net = load_exportable(job.net)
    with user_errors(ValueError):
        require_temperature(net.model, job.temperature)
    data, short_side = _fitting_data(job, net)
    described = net.preprocessing(lambda: data.preprocessing), data.class_names
    images = sample(data.test, job.test_images) if others else None
    calibration = sample(data.train, job.calibration_images) if INT8 in others else None
    data.bad_images.check()
    require_writable(folder, "output_dir")
    folder.mkdir(parents=True, exist_ok=True)
    with user_errors(OSError, tf.errors.OpError, ValueError):
        if SAVED_MODEL in job.formats:
            path = export_saved_model(
                net.model, folder / SAVED_MODEL, *described, short_side, warmup=job.warmup, temperature=job.temperature
            )
            print(f"{SAVED_MODEL}: {path}", flush=True)
        refusals = [
            _write_file(net.model, name, folder, described, images, calibration, job.temperature) for name in others
        ]
        if any(refusals):
            raise ValueError("; ".join(filter(None, refusals)))


def _write_file(model, name, folder, described, images, calibration, temperature):
    """Returns why a file was not kept, or None: the other formats are written all the same."""
    try:
        path, agreements = export_file(model, name, folder, *described, images, calibration, temperature)
    except Disagreement as error:
        return str(error)
    print(f"{name}: {path}, {path.stat().st_size:,} bytes", flush=True)
    print("".join(f"  {agreement}\n" for agreement in agreements), end="", flush=True)
    return None


def _require_possible(job, folder):
    """What can be known before anything is loaded."""
    unknown = [name for name in job.formats if name not in ALL_FORMATS]
    if unknown or not job.formats:
        raise UserError(f"--formats={','.join(job.formats)} is refused; allowed: {', '.join(ALL_FORMATS)}.")
    with user_errors(ImportError):
        if SAVED_MODEL in job.formats and job.warmup:
            require_package(WARMUP_PACKAGE)
        for name in FORMATS.keys() & set(job.formats):
            FORMATS[name].require()
    for name in FORMATS.keys() & set(job.formats):
        path = folder / FORMATS[name].file_name
        if path.exists():
            raise UserError(f"{path} exists; give another --output_dir, or take the file away.")


def _fitting_data(job, net):
    """The data, and to which short side its test images are resized if they are cropped from files."""
    data, _ = load_test_data(job, net)
    shape, short_side = data.test.image_shape, None
    if isinstance(data.test, EncodedImages):
        side, short_side = data.test.evaluation_size, data.test.evaluation_short_side
        shape = (side, side, shape[-1])
    require_fit(net, data, shape)
    return data, short_side


def sample(images: Images, count: int) -> np.ndarray:
    """Returns uint8 images as they are evaluated, spread evenly over all: those of a folder lie class by class."""
    index = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(np.int64)
    rows = tf.data.Dataset.from_tensor_slices(index).batch(BATCH).map(without_draws)
    batches = images.dataset(rows, training=False).as_numpy_iterator()
    return np.concatenate([images[weights > 0] for images, _, weights in batches])
