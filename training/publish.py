"""Makes a finished run ready to be given away: python -m training.publish --run_dir=runs/preresnet20_cifar10.

Measures the net and its exports on all test images, in float32, and writes to --output_dir, at once and whole:

README.md    model card: data, recipe, errors, calibration, preprocessing, limits, licence
<version>/   the SavedModel
run/         the run's record, its tables and its learning curve
evaluation/  what training.evaluate --temperature_scaling writes
formats.csv  bytes, error and agreement of each export
<model>_<data>.weights.h5  float32 weights, as keras_preresnet/packaged_weights holds them; the program prints what
             keras_preresnet/register.py has to say of them
"""

import dataclasses

from absl import flags

from training.errors import run_program
from training.publication import Publication

FLAGS = flags.FLAGS

flags.DEFINE_string("run_dir", None, "folder of a finished run", required=True)
flags.DEFINE_string("output_dir", None, "a folder that is not there yet; default: published/<model>_<data>")
flags.DEFINE_string("data", None, "data set, as of training.evaluate; default: that of the run")
flags.DEFINE_string("data_dir", None, "folder of TFDS; default: the environment's TFDS_DATA_DIR, else TFDS's own")
flags.DEFINE_string("licence", "MIT", "of the weights")


def main() -> None:
    """Reads the flags and publishes the run that they name."""
    settings = {setting.name: FLAGS[setting.name].value for setting in dataclasses.fields(Publication)}
    Publication(**settings).run()


if __name__ == "__main__":
    run_program(main)
