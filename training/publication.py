"""What a finished run is given away with: its net in every format, each measured, and a model card."""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from keras_preresnet.export_formats import FORMATS
from training.answering import load_net
from training.data import load_data
from training.errors import UserError, user_errors
from training.evaluation_job import OF_ANY_SET, OF_ONE_SET, EvaluationJob, measure
from training.export_job import ALL_FORMATS, SAVED_MODEL, ExportJob
from training.export_job import run as export
from training.files import read_json, require_writable, write_text
from training.model_card import model_card
from training.runs import run_name

RUN_FILES = ("run.json", "metrics.csv", "steps.csv", "learning_curve.png")


@dataclass(frozen=True)
class Publication:
    """The flags of `training.publish`, as plain values."""

    run_dir: str
    output_dir: str | None = None
    data: str | None = None
    data_dir: str | None = None
    licence: str = "MIT"

    def run(self) -> Path:
        """Measures and writes everything; returns the folder.

        Raises:
            UserError: for a run that is not finished, data that are not there, or a folder that is, before anything is
                written; for an export that does not answer as the net does.
        """
        self._require_finished()
        with user_errors(ImportError):
            for file_format in FORMATS.values():
                file_format.require()
        net = load_net(self.run_dir)
        name = run_name(net.name, net.record["settings"]["data"])
        target = Path(self.output_dir or f"published/{name.lower()}")
        if target.exists():
            raise UserError(f"{target} exists; give another --output_dir, or take it away.")
        self._require_same_images(net)
        require_writable(target, "output_dir")
        with user_errors(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
                partial = Path(folder) / target.name
                self._write(net, partial, f"{name}.weights.h5")
                partial.rename(target)
        print(f"written to {target}")
        return target

    def _require_finished(self):
        run = Path(self.run_dir)
        status = read_json(run / "run.json").get("status")
        if status != "finished":
            what = "its run is not finished" if status else "there is no run"
            raise UserError(f"--run_dir={run} is refused, for {what}: the folder of a finished run is needed.")
        missing = [name for name in ("model.keras", *RUN_FILES) if not (run / name).exists()]
        if missing:
            raise UserError(f"--run_dir={run} is refused: {', '.join(missing)} is missing there.")

    def _require_same_images(self, net):
        """What is measured on others must not pass for the run's test."""
        known = net.record["data"]
        if self.data is None and known["version"] in ("folder", "npz"):
            raise UserError(f"--data is needed: the run was trained on {known['name']}; give its path.")
        settings = {key: value for key, value in self._images(net).items() if value is not None}
        data = load_data(settings.pop("data"), **settings)
        if data.description()["sha256"] != known["sha256"]:
            name = self.data or known["name"]
            raise UserError(f"--data={name} holds other images than the run's; give those that it was trained on.")

    def _write(self, net, folder, weights_name):
        images = self._images(net)
        report = measure(EvaluationJob(self.run_dir, **images, temperature_scaling=True), folder)
        flipped = measure(EvaluationJob(self.run_dir, **images, test_time_flip=True), folder)
        report.write(folder / "evaluation", predictions=False)
        formats = self._formats(net, report, folder)
        write_text(folder / "formats.csv", formats.to_csv(index=False))
        (folder / "run").mkdir()
        for name in RUN_FILES:
            shutil.copyfile(Path(self.run_dir) / name, folder / "run" / name)
        net.model.save_weights(folder / weights_name)
        digest = hashlib.sha256((folder / weights_name).read_bytes()).hexdigest()
        words = f"Weights: `{weights_name}`, sha256 {digest}; licence {self.licence}."
        steps = pd.read_csv(folder / "run" / "steps.csv")
        write_text(folder / "README.md", model_card(net.record, steps, report, flipped.summary, formats, words))
        print(f"{weights_name}: test_error={report.summary['error']:.2f}, sha256={digest}")

    def _formats(self, net, report, folder):
        """A row for each export, measured on all test images; of the files none but the SavedModel is kept."""
        rows = []
        with tempfile.TemporaryDirectory() as exports:
            images = self._images(net)
            export(ExportJob(self.run_dir, output_dir=exports, formats=ALL_FORMATS, warmup=False, **images))
            for name in ALL_FORMATS:
                path = Path(exports) / (FORMATS[name].file_name if name in FORMATS else name)
                measured = measure(EvaluationJob(str(path), **images), folder)
                same = int((measured.answers["predicted"] == report.answers["predicted"]).sum())
                summary = {key: measured.summary[key] for key in ("wrong", "error")}
                rows.append({"format": name, "bytes": _size(path), **summary, "same_top1": same})
            shutil.copytree(Path(exports) / SAVED_MODEL, folder, dirs_exist_ok=True)
        return pd.DataFrame(rows)

    def _images(self, net):
        """Which images: those of the run, also for exports, which know of no run."""
        settings = {key: net.record["settings"].get(key) for key in ("data", *OF_ANY_SET, *OF_ONE_SET)}
        return {**settings, "data": self.data or settings["data"], "data_dir": self.data_dir}


def _size(path):
    """In bytes, of a file or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
