"""Tests a trained net: python -m training.evaluate --net=runs/demo.

Prints error, top-5 error, loss, expected calibration error and a table of the classes, and writes to --output_dir:

evaluation.json         the measures, the calibration bins, and what was tested on what
per_class.csv           images, error, precision, recall and the most frequent confusion of each class
confusion_matrix.csv    images of each true class (rows) by predicted class (columns)
confusion_matrix.png    the same, drawn
reliability.png         accuracy by confidence
reliability_scaled.png  with --temperature_scaling: the same after it
predictions.csv         with --predictions: what the net says of each image
"""

import dataclasses

from absl import flags

from training.data_flags import define_data_flags
from training.errors import run_program
from training.evaluation_job import EvaluationJob, run

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "net",
    None,
    "run folder, .keras file, folder of a SavedModel or of its versions (the newest), .onnx or .tflite file of "
    "training.export, or packaged weights as PreResNet20:cifar10",
    required=True,
)
define_data_flags()
flags.DEFINE_integer(
    "crop", None, "test on the centre crop of this side, the shorter side being as long, as the paper with 320", 1
)
flags.DEFINE_integer("batch_size", 100, "images at a time; changes nothing but speed and memory", lower_bound=1)
flags.DEFINE_string(
    "output_dir",
    None,
    "default: the folder evaluation of the run, else evaluation/<net>; _flip after that with --test_time_flip",
)
flags.DEFINE_bool("predictions", False, "write predictions.csv too: what the net says of each image")
flags.DEFINE_bool("test_time_flip", False, "take the mean of the logits of each image and of its mirror image")
flags.DEFINE_bool(
    "temperature_scaling",
    False,
    "fit the temperature that all logits are divided by, for --temperature of training.export; measured on each half "
    "of the test images at that of the other half",
)


def main() -> None:
    """Reads the flags and runs the evaluation that they describe."""
    run(EvaluationJob(**{setting.name: FLAGS[setting.name].value for setting in dataclasses.fields(EvaluationJob)}))


if __name__ == "__main__":
    run_program(main)
