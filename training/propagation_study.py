"""Studies of signal propagation: which nets, on which images, and what is written of them."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from keras_preresnet import ResidualNetwork, create_model
from keras_preresnet.anatomy import describe_net
from keras_preresnet.propagation import gains, measure_propagation
from training.answering import KERAS_NEEDED, KerasNet, load_net
from training.checkpoints import Checkpoints
from training.data import is_folder, load_data
from training.environment import describe_environment
from training.errors import UserError, user_errors
from training.evaluation_job import require_fit, test_batches, title
from training.files import read_json, require_writable, write_text
from training.propagation_figure import draw_propagation
from training.step import model_variables


class Study(NamedTuple):
    """Nets side by side: variants, by the name in the figure, of each model."""

    title: str
    models: tuple[str, ...]
    variants: dict[str, dict]


REFERENCES = {
    "plain net, h = 0": {"shortcut": "constant_scaling", "shortcut_options": {"scale": 0.0}},
    "h = 1.1 x": {"shortcut": "constant_scaling", "shortcut_options": {"scale": 1.1}},
}
STUDIES = {
    "shortcuts": Study(
        "The six shortcuts (Fig. 2)",
        ("PreResNet110",),
        {
            "identity": {"shortcut": "identity"},
            "constant scaling 0.5": {"shortcut": "constant_scaling", "shortcut_options": {"scale": 0.5}},
            "exclusive gating": {"shortcut": "exclusive_gating", "shortcut_options": {"gate_bias": -6}},
            "shortcut-only gating": {"shortcut": "shortcut_only_gating", "shortcut_options": {"gate_bias": -6}},
            "1x1 convolution": {"shortcut": "convolution"},
            "dropout 0.5": {"shortcut": "dropout"},
        },
    ),
    "activations": Study(
        "The five activation designs (Fig. 4)",
        ("PreResNet110", "PreResNet1001"),
        {
            "original": {"design": "original"},
            "BN after addition": {"design": "bn_after_addition"},
            "ReLU before addition": {"design": "relu_before_addition"},
            "ReLU-only pre-activation": {"design": "relu_only_preactivation"},
            "full pre-activation": {"design": "full_preactivation"},
        },
    ),
}


@dataclass(frozen=True)
class PropagationJob:
    """The flags of `training.propagation`, as plain values."""

    study: str | None = None
    models: list[str] | None = None
    design: str | None = None
    net: str | None = None
    data: str = "noise"
    data_dir: str | None = None
    image_size: int | None = None
    batch_size: int = 16
    statistics: str = "batch"
    tape: bool = True
    seed: int = 0
    output_dir: str | None = None

    @property
    def study_name(self) -> str:
        """The study that was asked for."""
        return self.study or ("net" if self.net else "shortcuts")

    @property
    def folder_name(self) -> str:
        """Of the study, or of the net: those of several lie side by side."""
        if not self.net:
            return self.study_name
        path = Path(self.net).resolve()
        name = f"{path.parent.name}_{path.stem}" if path.is_file() else path.name
        return name.lower().replace(":", "_")


def run(job: PropagationJob) -> None:
    """Measures the nets of the study one after another, and writes table, summary and figure.

    Raises:
        UserError: for settings that exclude each other, an unknown net, or data that does not fit it.
    """
    _require_compatible(job)
    folder = Path(job.output_dir or f"propagation/{job.folder_name}")
    tf.config.experimental.enable_tensor_float_32_execution(False)
    net = _load(job) if job.net else None
    batch = _Batch(job, net)
    require_writable(folder, "output_dir")
    tables, summaries = [], []
    for model_name, name, model in _nets(job, net, batch):
        images, labels = batch.of(model)
        with user_errors(ValueError):
            found = measure_propagation(model, images, labels, job.statistics == "batch", job.tape, job.seed)
        tables.append(pd.DataFrame(found.units).assign(model=model_name, net=name))
        summaries.append({"model": model_name, "net": name, **gains(found.units), "stages": found.stages})
        print(_line(summaries[-1]), flush=True)
        keras.utils.clear_session()
    _write(job, folder, pd.concat(tables), summaries)


def _require_compatible(job):
    if (job.study_name == "net") != bool(job.net):
        if not job.net:
            raise UserError("--study=net needs --net, a run folder or .keras file.")
        raise UserError(f"--study={job.study} and --net={job.net} exclude each other: --study=net measures --net.")
    if job.net and (job.models or job.design):
        raise UserError("--models and --design are those of --net; leave them out.")
    if job.design and job.study_name == "activations":
        raise UserError("--design and --study=activations exclude each other: that study has all designs.")
    if job.image_size and job.data == "noise" and job.net:
        raise UserError("--image_size and --net exclude each other on noise: it has the size that the net takes.")


class _Batch:
    """The images that go through: noise of the size that a net takes, or the first test images of a set."""

    def __init__(self, job, net):
        self.job = job
        self.data = None
        if job.data != "noise":
            side = job.image_size or (net.image_shape[0] if net and is_folder(job.data) else None)
            self.data = load_data(job.data, job.data_dir, image_size=side)
            self.images, self.labels, weights = next(iter(test_batches(self.data.test, job.batch_size)))
            if not np.all(weights):
                raise UserError(f"among the first {job.batch_size} test images of {job.data} some cannot be decoded.")
            if net:
                require_fit(net, self.data, tuple(self.images.shape[1:]))
            preprocessing = net.preprocessing(lambda: self.data.preprocessing) if net else self.data.preprocessing
            self.images = preprocessing(tf.cast(self.images, tf.float32))

    def options(self) -> dict:
        """What nets have to be built with to take the images."""
        if self.data:
            return {"input_shape": tuple(self.images.shape[1:]), "classes": len(self.data.class_names)}
        side = self.job.image_size
        return {"input_shape": (side, side, 3)} if side else {}

    def of(self, model) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns images and labels for the net."""
        if self.data:
            return self.images, self.labels
        draw = np.random.default_rng(self.job.seed)
        shape = [32 if side is None else side for side in model.input_shape[1:]]
        images = draw.standard_normal((self.job.batch_size, *shape), np.float32)
        return tf.constant(images), tf.constant(draw.integers(model.output_shape[-1], size=self.job.batch_size))


def _nets(job, net, batch) -> Iterator[tuple[str, str, keras.Model]]:
    """Yields the name of the model, of the variant, and the net, each built when its turn comes."""
    if net:
        described = describe_net(net.model)
        shape, classes = net.model.input_shape[1:], net.classes
        yield net.name, "as trained", net.model
        for name, options in ({"at initialization": {}} | REFERENCES).items():
            keras.utils.set_random_seed(job.seed)
            settings = {**described, **options, "input_shape": shape, "classes": classes}
            yield net.name, name, ResidualNetwork(**settings)
        return
    study = STUDIES[job.study_name]
    for model_name in job.models or study.models:
        for name, options in (study.variants | REFERENCES).items():
            keras.utils.set_random_seed(job.seed)
            options = {**batch.options(), **options, **({"design": job.design} if job.design else {})}
            with user_errors(ValueError):
                model = create_model(model_name, dtype="float32", **options)
            yield model_name, name, model


def _load(job) -> KerasNet:
    """A finished run, a file, or the newest checkpoint of a run under way."""
    folder = Path(job.net)
    if (folder / "run.json").exists() and not (folder / "model.keras").exists():
        return _from_checkpoint(folder)
    net = load_net(job.net, KERAS_NEEDED)
    if not isinstance(net, KerasNet):
        raise UserError(f"--net={job.net} is refused: an export has no gradients; give a run folder or .keras file.")
    with user_errors(ValueError):
        describe_net(net.model)
    return net


def _from_checkpoint(folder):
    record = read_json(folder / "run.json")
    with user_errors(KeyError, ValueError):
        settings, data = record["settings"], record["data"]
        shape, classes = data["image_shape"], data["classes"]
        options = {"input_shape": shape, "classes": classes, "dtype": "float32", **settings["model_options"]}
        model = create_model(settings["model"], **options)
    step = Checkpoints(folder / "checkpoints", model_variables(model)).restore(partly=True)
    if not step:
        raise UserError(f"--net={folder} holds neither model.keras nor a checkpoint: nothing has been trained yet.")
    print(f"{folder}: the checkpoint of step {step}")
    return KerasNet(f"{settings['model']} after {step} steps", model, record)


def _line(summary):
    worst = {key: max(stage[key] for stage in summary["stages"]) for key in ("additive_residue", "split_residue")}
    additive, split = (f"{worst[key]:.1e}" if np.isfinite(worst[key]) else "none" for key in worst)
    return (
        f"{summary['model']}, {summary['net']}: the signal of the last unit is {summary['forward_gain']:.3g} times "
        f"that of the first, the gradient of the first {summary['backward_gain']:.3g} times that of the last; "
        f"equations (5), (8) leave over {additive}, (6), (9) {split}"
    )


def _write(job, folder, table, summaries):
    folder.mkdir(parents=True, exist_ok=True)
    table = table[["model", "net", *(column for column in table if column not in ("model", "net"))]]
    write_text(folder / "propagation.csv", table.to_csv(index=False))
    facts = {
        "study": job.study_name,
        "settings": _settings(job),
        "environment": describe_environment(),
        "nets": summaries,
    }
    write_text(folder / "propagation.json", json.dumps(_without_nan(facts), indent=2) + "\n")
    what = STUDIES[job.study_name].title if job.study_name in STUDIES else str(table["model"].iloc[0])
    draw_propagation(table, folder, f"{what}: signal and gradient by unit")
    print(f"written to {folder}")


def _settings(job):
    """Without places, which are those of one machine."""
    settings = {key: value for key, value in dataclasses.asdict(job).items() if key not in ("data_dir", "output_dir")}
    return settings | {"data": title(job.data), "net": job.net and Path(job.net).name}


def _without_nan(value):
    """The value as JSON knows it, which has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
