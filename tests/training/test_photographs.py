"""A folder of photographs of many sizes and modes: trained on, evaluated and exported by the real programs."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from programs import messages, run_program
from sklearn.datasets import load_sample_images

COUNT = 120  # Of each class.
# File ending, and what makes an image of that mode of an RGB one.
MODES = (
    ("jpg", lambda image: image),
    ("jpg", lambda image: image.convert("L")),
    ("jpg", lambda image: image.convert("CMYK")),
    ("png", lambda image: image),
    ("png", lambda image: image.convert("RGBA")),
    ("png", lambda image: image.convert("P")),
    ("png", lambda image: Image.fromarray(np.array(image.convert("L"), np.uint16) * 257)),
    ("gif", lambda image: image),
    ("bmp", lambda image: image),
)
TRAIN = ("train", "--depth=8", "--batch_size=32", "--precision=mixed_bfloat16")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Random parts of scikit-learn's two photographs, a temple and a flower, 40 to 200 pixels wide and high."""
    folder = tmp_path_factory.mktemp("work")
    draw = np.random.default_rng(0)
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / "photographs" / name).mkdir(parents=True)
        for index in range(COUNT):
            height, width = draw.integers(40, 200, 2)
            top, left = draw.integers(0, pixels.shape[0] - height), draw.integers(0, pixels.shape[1] - width)
            ending, change = MODES[index % len(MODES)]
            image = change(Image.fromarray(pixels[top : top + height, left : left + width]))
            image.save(folder / "photographs" / name / f"{index}.{ending}")
    return folder


@pytest.mark.parametrize(
    "augmentation", ["scale", *(pytest.param(name, marks=pytest.mark.slow) for name in ("translation", "inception"))]
)
def test_photographs_are_trained_on_evaluated_and_exported(photographs, augmentation):
    own = (f"--run_dir={augmentation}", f"--saved_model_dir={augmentation}_net", f"--augmentation={augmentation}")
    steps = ("--train_steps=60", "--steps_per_evaluation=60", "--image_size=32", "--learning_rate=0.05")
    data = "--data=./photographs"
    process = run_program(*TRAIN, data, *own, *steps, cwd=photographs)
    assert process.returncode == 0, process.stderr
    record = json.loads((photographs / augmentation / "run.json").read_text())
    assert record["data"]["name"] == "photographs"
    assert (record["data"]["train_images"], record["data"]["test_images"]) == (216, 24)
    assert record["class_names"] == ["flower", "temple"]
    assert str(photographs) not in json.dumps(record)
    process = run_program(
        "evaluate", f"--net={augmentation}_net", data, f"--output_dir={augmentation}_found", cwd=photographs
    )
    assert process.returncode == 0, process.stderr
    found = json.loads((photographs / f"{augmentation}_found" / "evaluation.json").read_text())
    assert found["images"] == 24
    assert found["error"] < 25
    asked = (f"--saved_model={augmentation}_net", data, f"--augmentation={augmentation}", "--index=3")
    process = run_program("predict", *asked, cwd=photographs)
    assert "test image 3 of photographs: the net says" in process.stdout, process.stderr
    model = tf.saved_model.load(str(photographs / f"{augmentation}_net" / "1"))
    answers = model.signatures["serving_default"](images=tf.zeros([3, 32, 32, 3], tf.uint8))
    assert answers["probabilities"].shape == (3, 2)


def test_a_broken_photograph_is_named_before_the_training_and_skipped_on_request(photographs):
    broken = photographs / "photographs" / "temple" / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no photograph")
    try:
        flags = (*TRAIN, "--data=./photographs", "--image_size=16", "--train_steps=2", "--run_dir=broken")
        process = run_program(*flags, cwd=photographs)
        assert process.returncode == 1
        (line,) = messages(process)
        assert line.startswith("error: 1 image could not be decoded: temple/broken.jpg; mend or remove it, or give")
        assert not (photographs / "broken").exists()
        process = run_program(*flags, "--max_bad_images=1", "--noexport", cwd=photographs)
        assert process.returncode == 0, process.stderr
        assert "left out: 1 image could not be decoded: temple/broken.jpg" in process.stdout
        record = json.loads((photographs / "broken" / "run.json").read_text())
        assert record["data"]["bad_images"] == ["temple/broken.jpg"]
        assert record["result"]["bad_images"] == ["temple/broken.jpg"]
        assert record["data"]["train_images"] + record["data"]["test_images"] == 2 * COUNT
    finally:
        broken.unlink()
