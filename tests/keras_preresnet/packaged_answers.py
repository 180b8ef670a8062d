"""What the packaged nets answered when they were packaged; run as a program, this file asks and stores it.

The images are made here, from whole numbers, so that they are the same everywhere.
"""

import json
import os
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("packaged_answers.json")
FIRST = 1000  # Test images of the data set, where it is on the disk.


def made_images(height: int, width: int, channels: int) -> np.ndarray:
    """Returns uint8 images (4, height, width, channels): a slope, crossed waves, a chequerboard, rings."""
    y, x, channel = np.indices((height, width, channels))
    slope = 8 * x + 40 * channel
    waves = x * y + 85 * channel
    board = 255 * ((x // 4 + y // 4 + channel) % 2)
    rings = ((x - width // 2) ** 2 + (y - height // 2) ** 2) // (channel + 1)
    return (np.stack([slope, waves, board, rings]) % 256).astype(np.uint8)


def logits_of(model, images: np.ndarray) -> np.ndarray:
    """Returns what a packaged net says of images of 0 to 255, 100 at a time."""
    from keras_preresnet import model_preprocessing

    preprocessing = model_preprocessing(model)
    parts = [images[start : start + 100] for start in range(0, len(images), 100)]
    return np.concatenate([model(preprocessing(part), training=False) for part in parts])


def first_test_images(row) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the first test images and labels of the data set that a row was trained on, None if it is not there."""
    if not (Path(os.environ.get("TFDS_DATA_DIR", "nowhere")) / row.weights).exists():
        return None
    from training.data import load_data

    test = load_data(row.weights).test
    return test.images[:FIRST], test.labels[:FIRST]


def main() -> None:
    """Asks every packaged net."""
    from keras_preresnet import create_model
    from keras_preresnet.register import REGISTER

    answers = {}
    for row in REGISTER.values():
        model = create_model(row.model, classes=len(row.class_names), weights=row.weights)
        images, labels = first_test_images(row)
        logits = logits_of(model, made_images(*model.input_shape[1:]))
        wrong = int((logits_of(model, images).argmax(1) != labels).sum())
        answers[f"{row.model}_{row.weights}"] = {
            "logits": np.round(logits.astype(float), 5).tolist(),
            "wrong_of_first_1000": wrong,
        }
    FILE.write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
