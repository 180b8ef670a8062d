"""Exports a trained net: python -m training.export --net=runs/demo --formats=onnx,litert --output_dir=exports/demo.

saved_model       saved_model/<version>/, as TensorFlow Serving reads it; saved_models/README.md has its endpoints
onnx              model.onnx, for ONNX Runtime and OpenVINO
litert            model.tflite, for LiteRT, in float32
litert_float16    model_float16.tflite: half the size
litert_int8       model_int8.tflite: a quarter of the size, in 8-bit integers

All take uint8 images of 0 to 255, preprocess them themselves, and answer with `logits` and `probabilities`, float32.
Beside each file lies a .json with class names, preprocessing and how it agrees with the net. The answers of a file are
compared with the net's on test images. One that does not agree is deleted, the others are written, and the exit code is
1: in float32 for a logit that differs by more than 0.001, in float16 if less than 99 % of the images have the same
top-1, in int8 if less than 95 %.
"""

import dataclasses

from absl import flags

from training.data_flags import define_data_flags
from training.errors import run_program
from training.export_job import ALL_FORMATS, ExportJob, run

FLAGS = flags.FLAGS

flags.DEFINE_string("net", None, "run folder, .keras file, or packaged weights as PreResNet20:cifar10", required=True)
flags.DEFINE_list("formats", ["saved_model"], f"some of {', '.join(ALL_FORMATS)}")
flags.DEFINE_string("output_dir", None, "folder of the artifacts; none that is there is written over", required=True)
flags.DEFINE_integer("test_images", 1000, "test images on which answers are compared", lower_bound=1)
flags.DEFINE_integer("calibration_images", 500, "training images of which int8 takes its ranges", lower_bound=1)
flags.DEFINE_bool("warmup", True, "write warm-up requests for TensorFlow Serving into the SavedModel")
flags.DEFINE_float(
    "temperature",
    1.0,
    "by which the logits are divided, so that the probabilities can be believed; "
    "training.evaluate --temperature_scaling fits it",
)
define_data_flags()


def main() -> None:
    """Reads the flags and runs the export that they describe."""
    settings = {setting.name: FLAGS[setting.name].value for setting in dataclasses.fields(ExportJob)}
    run(ExportJob(**{**settings, "formats": tuple(settings["formats"])}))


if __name__ == "__main__":
    run_program(main)
