"""Tests a trained net: python -m training.evaluate --net=runs/demo.

Prints error, top-5 error, loss, expected calibration error and a table of the classes, and writes to --output_dir:

evaluation.json       the measures, the calibration bins, and what was tested on what
per_class.csv         images, error, precision, recall and the most frequent confusion of each class
confusion_matrix.csv  images of each true class (rows) by predicted class (columns)
confusion_matrix.png  the same, drawn
reliability.png       accuracy by confidence
predictions.csv       with --predictions: what the net says of each image
"""

import dataclasses

from absl import flags

from training.errors import run_program
from training.evaluation_job import EvaluationJob, run

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "net",
    None,
    "run folder, .keras file, folder of a SavedModel or of its versions (the newest), or .onnx or .tflite file of "
    "training.export",
    required=True,
)
flags.DEFINE_string("data", None, "data set to test on; default: that of the run")
flags.DEFINE_string("data_dir", None, "folder of TFDS; default: the environment's TFDS_DATA_DIR, else TFDS's own")
flags.DEFINE_string("train_split", None, "TFDS split that the net was trained on; default: that of the run")
flags.DEFINE_string("test_split", None, "TFDS split to test on; default: that of the run, else test, or validation")
flags.DEFINE_integer("image_size", None, "side to which images are resized; default: that of the net", lower_bound=1)
flags.DEFINE_string(
    "augmentation",
    None,
    "of the run, which decides how images are read: of scale and inception the shorter side is 256/224 of the image "
    "size, else as long; default: that of the run",
)
flags.DEFINE_float("test_fraction", None, "share held out where there is no test set; default: that of the run", 0, 1)
flags.DEFINE_integer("seed", None, "of the run, which decides what is held out; default: that of the run", 0, 2**32 - 1)
flags.DEFINE_integer(
    "crop", None, "test on the centre crop of this side, the shorter side being as long, as the paper with 320", 1
)
flags.DEFINE_integer("max_bad_images", None, "images that may be undecodable; default: that of the run", 0)
flags.DEFINE_integer("batch_size", 100, "images at a time; changes nothing but speed and memory", lower_bound=1)
flags.DEFINE_string("output_dir", None, "default: the folder evaluation of the run, or of where you are")
flags.DEFINE_bool("predictions", False, "write predictions.csv too: what the net says of each image")


def main() -> None:
    """Reads the flags and runs the evaluation that they describe."""
    run(EvaluationJob(**{setting.name: FLAGS[setting.name].value for setting in dataclasses.fields(EvaluationJob)}))


if __name__ == "__main__":
    run_program(main)
