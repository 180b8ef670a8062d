"""Measures and draws how signal and gradient cross a net: python -m training.propagation --study=shortcuts.

shortcuts     the six shortcuts of Fig. 2 in PreResNet110
activations   the five activation designs of Fig. 4 in PreResNet110 and PreResNet1001
net           the net of --net beside the same at its initialization

Always beside them: the plain net, h = 0, in which signals are multiplied, and h = 1.1 x. Written to --output_dir, over
what a study before has left there:

propagation.csv              a row for each unit of each net: the columns of keras_preresnet.propagation.Propagation
propagation.json             settings, versions, and for each net and stage the gains and the residues of the equations
propagation.png, .svg        norms of x_l and dE/dx_l by unit
"""

import dataclasses

from absl import flags

from training.errors import run_program
from training.propagation_study import STUDIES, PropagationJob, run

FLAGS = flags.FLAGS

flags.DEFINE_enum("study", None, [*STUDIES, "net"], "which nets are measured; default: net with --net, else shortcuts")
flags.DEFINE_list("models", None, "nets that are varied; default: those above")
flags.DEFINE_string("design", None, "activation design of the study of shortcuts; default: that of the models")
flags.DEFINE_string(
    "net",
    None,
    "run folder, finished or not (its newest checkpoint), .keras file, or packaged weights as PreResNet20:cifar10",
)
flags.DEFINE_string(
    "data", "noise", "noise: images of standard normal values; or a data set of training.train, whose test images are"
)
flags.DEFINE_string("data_dir", None, "folder of TFDS; default: the environment's TFDS_DATA_DIR, else TFDS's own")
flags.DEFINE_integer("image_size", None, "side to which images are resized, in pixels", lower_bound=1)
flags.DEFINE_integer("batch_size", 16, "images that go through at once", lower_bound=2)
flags.DEFINE_enum(
    "statistics", "batch", ["batch", "moving"], "of batch norm: of the batch as in training, or moving as at inference"
)
flags.DEFINE_bool("tape", True, "compare with one ordinary tape through the whole net, which takes more memory")
flags.DEFINE_integer("seed", 0, "of initial weights, noise and dropout", 0, 2**31 - 1)
flags.DEFINE_string("output_dir", None, "default: propagation/<study>, or the name of the net")


def main() -> None:
    """Reads the flags and runs the study that they describe."""
    run(PropagationJob(**{setting.name: FLAGS[setting.name].value for setting in dataclasses.fields(PropagationJob)}))


if __name__ == "__main__":
    run_program(main)
