"""Asks a net about image files: python -m training.predict photographs/*.jpg --saved_model=saved_models/demo.

Names are of files, of folders (all images in them), patterns in quotes, or "-": then a list of files is read from
standard input, a name a line. JPEG, PNG, GIF and BMP are read. Prints a table, or with --json a line of JSON for each
file; a file that cannot be read is a row with its error. The exit code is 1 only if none could be read. --net instead
of --saved_model asks a net that has not been exported, packaged weights among them. What is asked stands in the first
line.

Without names it asks about an image of a test set, --data=digits --index=7, and says what is right.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import flags

from training import prediction_job
from training.augmentation import without_draws
from training.data import TEST_FRACTION, ImageData, is_arrays, is_folder, load_data
from training.errors import UserError, run_program
from training.evaluation_job import require_fit
from training.exported_net import load_exported, require_one
from training.files import printable

FLAGS = flags.FLAGS

flags.DEFINE_string("saved_model", None, "folder of a SavedModel, or of its versions: then the newest")
flags.DEFINE_string(
    "net",
    None,
    "instead: a run folder, a .keras file, or packaged weights as PreResNet20:cifar10; --data, --seed and the like "
    "of its run are given again",
)
flags.DEFINE_string("data", "digits", "data set that the image is of")
flags.DEFINE_string("data_dir", None, "folder of TFDS; default: the environment's TFDS_DATA_DIR, else TFDS's own")
flags.DEFINE_string("test_split", None, "TFDS split that the image is of; default: test, or validation")
flags.DEFINE_string("augmentation", "translation", "of the net's training, which decides how images are cropped")
flags.DEFINE_float("test_fraction", TEST_FRACTION, "of the net's training, where there is no test set", 0, 1)
flags.DEFINE_integer("seed", 0, "of the net's training, which decides what was held out", 0, 2**32 - 1)
flags.DEFINE_integer("index", 0, "which image of the test split", lower_bound=0)
flags.DEFINE_bool("json", False, "of files, print a line of JSON each")
flags.DEFINE_string("contact_sheet", None, "of files, PNG to draw them to, as the net sees them, with their labels")
flags.DEFINE_integer("batch_size", 32, "of files, how many at a time; changes nothing but speed and memory", 1)

OF_TEST_IMAGES = ("data", "data_dir", "test_split", "augmentation", "test_fraction", "seed", "index")
OF_FILES = ("json", "contact_sheet", "batch_size")

SHADES = " .:-=+*#%@"


def draw(image: np.ndarray) -> str:
    """Returns a small grey image, `(height, width, 1)`, as lines of text."""
    shade = image[..., 0].astype(int) * (len(SHADES) - 1) // 255
    return "\n".join("  " + "".join(SHADES[value] * 2 for value in row) for row in shade)


def answer(model: tf.Module, data: ImageData, index: int) -> str:
    """Returns what the exported net says of test image `index`, the likeliest classes first, and the truth."""
    rows = tf.data.Dataset.from_tensors(without_draws(tf.constant([index], tf.int64)))
    images, labels, _ = next(iter(data.test.dataset(rows, training=False)))
    image, truth = images[0].numpy(), data.class_names[int(labels[0])]
    answers = model.signatures["serving_default"](images=images)
    probabilities = answers["probabilities"].numpy()[0]
    label = data.class_names[probabilities.argmax()]  # Those of the net, if it names them: `require_fit`.
    others = [f"{data.class_names[k]} {probabilities[k]:.2%}" for k in np.argsort(-probabilities)[1:3]]
    lines = [draw(image)] if image.shape[-1] == 1 and image.shape[1] <= 32 else []
    lines.append(f"test image {index} of {data.name}: the net says {label}, probability {probabilities.max():.2%}")
    lines.append(f"(then {', '.join(others)}); the truth is {truth}: {'right' if label == truth else 'wrong'}")
    return "\n".join(lines)


def main(names: Sequence[str] = ()) -> None:
    """Asks about the files of these names, or about an image of a test set."""
    refused = [f"--{flag}" for flag in (OF_TEST_IMAGES if names else OF_FILES) if FLAGS[flag].present]
    if refused:
        form = "an image of a test set, not for files" if names else "files; name some, or - for standard input"
        raise UserError(f"{', '.join(refused)} is for {form}.")
    require_one(FLAGS.saved_model, FLAGS.net)
    files = prediction_job.find_files(names) if names else ()
    source, net = load_exported(FLAGS.saved_model, FLAGS.net)
    if files:
        prediction_job.run(files, source, net, FLAGS.json, FLAGS.contact_sheet, FLAGS.batch_size)
    else:
        _ask_about_test_image(source, net)


def _ask_about_test_image(source, net):
    """Loads the image in the size that the net takes, and prints the answer."""
    in_one_form = is_arrays(FLAGS.data)
    sizes = {} if in_one_form else {"image_size": net.image_shape[0]}
    splits = {} if in_one_form or is_folder(FLAGS.data) else {"train_split": "train[:1]"}  # Not needed, but read.
    held_out = {"augmentation": FLAGS.augmentation, "test_fraction": FLAGS.test_fraction, "seed": FLAGS.seed}
    data = load_data(FLAGS.data, FLAGS.data_dir, test_split=FLAGS.test_split, **held_out, **sizes, **splits)
    if FLAGS.index >= len(data.test):
        raise UserError(f"--index={FLAGS.index} is refused: {data.name} has {len(data.test)} test images.")
    require_fit(net, data, data.test.image_shape)
    print(f"asked: {printable(source)}")
    print(answer(net.module, data, FLAGS.index))


if __name__ == "__main__":
    run_program(main, takes_arguments=True)
