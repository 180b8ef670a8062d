"""Asks an exported net about an image of a test set: python -m training.predict --saved_model=... --data=digits."""

import numpy as np
import tensorflow as tf
from absl import flags

from training.answering import newest_version
from training.augmentation import DRAWS
from training.data import ImageData, load_data
from training.errors import UserError, run_program, user_errors

FLAGS = flags.FLAGS

flags.DEFINE_string("saved_model", None, "folder of a SavedModel, or of its versions: then the newest", required=True)
flags.DEFINE_string("data", "digits", "data set that the image is of")
flags.DEFINE_string("data_dir", None, "folder of TFDS; default: the environment's TFDS_DATA_DIR, else TFDS's own")
flags.DEFINE_string("test_split", None, "TFDS split that the image is of; default: test, or validation")
flags.DEFINE_integer("index", 0, "which image of the test split", lower_bound=0)

SHADES = " .:-=+*#%@"


def draw(image: np.ndarray) -> str:
    """Returns a small grey image, `(height, width, 1)`, as lines of text."""
    shade = image[..., 0].astype(int) * (len(SHADES) - 1) // 255
    return "\n".join("  " + "".join(SHADES[value] * 2 for value in row) for row in shade)


def answer(model: tf.Module, data: ImageData, index: int) -> str:
    """Returns what the exported net says of test image `index`, the likeliest classes first, and the truth."""
    rows = tf.data.Dataset.from_tensors((tf.constant([index], tf.int64), tf.zeros([1, DRAWS])))
    images, labels, _ = next(iter(data.test.dataset(rows, training=False)))
    image, truth = images[0].numpy(), data.class_names[int(labels[0])]
    answers = model.signatures["serving_default"](images=images)
    probabilities = answers["probabilities"].numpy()[0]
    label = answers["label"].numpy()[0].decode()
    others = [f"{data.class_names[k]} {probabilities[k]:.2%}" for k in np.argsort(-probabilities)[1:3]]
    lines = [draw(image)] if image.shape[-1] == 1 and image.shape[1] <= 32 else []
    lines.append(f"test image {index} of {data.name}: the net says {label}, probability {probabilities.max():.2%}")
    lines.append(f"(then {', '.join(others)}); the truth is {truth}: {'right' if label == truth else 'wrong'}")
    return "\n".join(lines)


def main() -> None:
    """Loads the net and the image, in the size that the net takes, and prints the answer."""
    path = newest_version(FLAGS.saved_model, "saved_model")
    with user_errors(OSError):
        model = tf.saved_model.load(str(path))
    _, inputs = model.signatures["serving_default"].structured_input_signature
    shape = inputs["images"].shape[1:]
    of_tfds = {} if FLAGS.data == "digits" else {"train_split": "train[:1]", "image_size": shape[0]}
    data = load_data(FLAGS.data, FLAGS.data_dir, test_split=FLAGS.test_split, **of_tfds)
    if FLAGS.index >= len(data.test):
        raise UserError(f"--index={FLAGS.index} is refused: {data.name} has {len(data.test)} test images.")
    if not shape.is_compatible_with(data.test.image_shape):
        raise UserError(f"{path} takes images of {shape}, those of {data.name} are {data.test.image_shape}.")
    print(answer(model, data, FLAGS.index))


if __name__ == "__main__":
    run_program(main)
