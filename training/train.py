"""Trains, tests and exports a net: python -m training.train --data=cifar10 --model=PreResNet20."""

import dataclasses

from absl import flags

from training.devices import DISTRIBUTIONS
from training.errors import UserError, run_program
from training.initial_weights import named_net
from training.job import Job, run
from training.recipes import RECIPES, setting_type, settings

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "data",
    "digits",
    "digits; the name of a TFDS image classification set, like cifar10; a folder of images, like ./photographs, with "
    "<class>/ or <split>/<class>/ in it; or a file of arrays, like digits.npz",
)
flags.DEFINE_string("data_dir", None, "folder of TFDS; default: the environment's TFDS_DATA_DIR, else TFDS's own")
flags.DEFINE_string("train_split", None, "split to train on, in TFDS also like 'train[:45000]'; default: train")
flags.DEFINE_string("test_split", None, "split to test on; default: test, or validation where there is no test")
flags.DEFINE_float("test_fraction", 0.1, "held out for testing where the data has no split", 0.0, 1.0)
flags.DEFINE_integer("image_size", None, "side to which images are resized, in pixels", lower_bound=1)
flags.DEFINE_integer("max_bad_images", 0, "how many images that cannot be decoded are left out", lower_bound=0)
flags.DEFINE_integer("classes", None, "number of classes; must be that of the data, which is the default")
flags.DEFINE_string(
    "model",
    None,
    "name of a net, see keras_preresnet.list_models(); default: the one that --init_from names, else PreResNet20",
)
flags.DEFINE_integer("depth", None, "layers, instead of those of the model: any depth of its family", lower_bound=1)
flags.DEFINE_string("branch", None, "one_layer, basic or bottleneck; default: the net's own")
flags.DEFINE_string("design", None, "activation design of its units; default: the net's own")
flags.DEFINE_string("shortcut", None, "shortcut of its units; default: identity")
flags.DEFINE_list("shortcut_options", [], "what the shortcut takes, like gate_bias=-6 or scale=0.5,residual_scale=0.5")
flags.DEFINE_string("widening", None, "zero_padding or projection; default: the net's own")
flags.DEFINE_string(
    "init_from",
    None,
    "what to start from instead of random weights: packaged weights, like PreResNet56:cifar10; a run folder; or a "
    ".keras or .weights.h5 file. The classifier is new where its classes are others",
)
flags.DEFINE_enum("remat", "none", ["none", "unit"], "what is computed again in the backward pass, to save memory")
flags.DEFINE_enum(
    "recipe", None, list(RECIPES), "default: fine_tune with --init_from, else that of the data set, else quick"
)
flags.DEFINE_float("epochs", None, "passes over the training images, instead of --train_steps", lower_bound=0)
flags.DEFINE_enum("precision", "float32", ["float32", "mixed_bfloat16", "mixed_float16"], "in which the net trains")
flags.DEFINE_enum("jit_compile", "auto", ["auto", "on", "off"], "XLA; auto: on a GPU only, for it is slower on a CPU")
flags.DEFINE_enum(
    "distribute",
    "auto",
    DISTRIBUTIONS,
    "mirrored: over all GPUs of this machine; multi_worker: over the processes of TF_CONFIG; auto: as it is",
)
flags.DEFINE_integer(
    "cpu_replicas", 1, "replicas on parts of the CPU; on small images one for each core is fastest", lower_bound=1
)
flags.DEFINE_bool("sync_batch_norm", False, "take batch-norm statistics from the whole batch, not from each replica's")
flags.DEFINE_bool("deterministic", False, "use deterministic operations alone: the same run gives the same bits")
flags.DEFINE_integer("seed", 0, "of initial weights, held-out images, their order and augmentation", 0, 2**32 - 1)
flags.DEFINE_integer("steps_per_evaluation", None, "default: one epoch, at least 100 steps", lower_bound=1)
flags.DEFINE_integer("steps_per_checkpoint", 500, "steps between two checkpoints at most", lower_bound=1)
flags.DEFINE_integer("steps_per_log", 100, "steps between two rows of the log", lower_bound=1)
flags.DEFINE_integer("steps_per_call", None, "steps made in one call; default: 1 on a CPU, 10 on a GPU", lower_bound=1)
flags.DEFINE_string(
    "run_dir", None, "folder of the run; default: runs/<model>_<data>. A run begun there is gone on with"
)
flags.DEFINE_string(
    "saved_model_dir", None, "folder of the SavedModel's versions; default: saved_models/<model>_<data>"
)
flags.DEFINE_bool("export", True, "whether to export the net as a SavedModel")


def _define_recipe_flags():
    """Every number of a recipe is a flag, whose default is the recipe's."""
    define = {int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_bool, str: flags.DEFINE_string}
    for setting in settings():
        text = f"{setting.metadata['help']}; default: the recipe's, in paper_cifar {setting.default}"
        if setting.metadata["choices"]:
            flags.DEFINE_enum(setting.name, None, setting.metadata["choices"], text)
            continue
        define.get(setting_type(setting), flags.DEFINE_list)(setting.name, None, text)


_define_recipe_flags()


def _recipe_overrides() -> dict:
    given = {setting.name: FLAGS[setting.name].value for setting in settings()}
    given = {name: value for name, value in given.items() if value is not None}
    if "learning_rate_drops" in given:
        drops = given["learning_rate_drops"]
        if not all(drop.isdecimal() for drop in drops):
            raise UserError(f"--learning_rate_drops={','.join(drops)} is refused: steps like 32000,48000 are needed.")
        given["learning_rate_drops"] = tuple(map(int, drops))
    if "exclude_from_weight_decay" in given:
        given["exclude_from_weight_decay"] = tuple(given["exclude_from_weight_decay"])
    return given


def _model_options() -> dict:
    named = {name: FLAGS[name].value for name in ("depth", "branch", "design", "shortcut", "widening")}
    named["remat"] = FLAGS.remat == "unit"
    pairs = [pair.partition("=") for pair in FLAGS.shortcut_options]
    try:
        named["shortcut_options"] = {key: _number(value) for key, _, value in pairs}
    except ValueError as error:
        raise UserError(
            f"--shortcut_options={','.join(FLAGS.shortcut_options)} is refused: name=number is needed."
        ) from error
    return {name: value for name, value in named.items() if value}


def _number(text):
    """An integer where it is one: the seed of a dropout shortcut is."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def main() -> None:
    """Reads the flags and runs the job that they describe."""
    own = {setting.name for setting in dataclasses.fields(Job)} - {"recipe_overrides", "model_options"}
    given = {name: FLAGS[name].value for name in own}
    given["model"] = FLAGS.model or named_net(FLAGS.init_from) or "PreResNet20"
    run(Job(**given, recipe_overrides=_recipe_overrides(), model_options=_model_options()))


if __name__ == "__main__":
    run_program(main)
