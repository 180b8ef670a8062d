"""What the tests of packaged weights and of transfer share: a small net, and a row of the register for it."""

import keras
import numpy as np
from library_helpers import normal

from keras_preresnet import ResidualNetwork
from keras_preresnet.anatomy import describe_net
from keras_preresnet.register import PackagedWeights

TINY = {"units": (3, 2), "widths": (4, 8), "stem_width": 4, "input_shape": (8, 8, 3), "classes": 3}
PETS = ("cat", "dog", "émeu")
IMAGES = np.asarray(normal(8, 8, 8, 3))
LABELS = np.arange(8) % 3


def tiny(**options):
    return ResidualNetwork(**{**TINY, **options})


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def row(model, name="Tiny", weights="pets", sha256="", **facts):
    settings = {
        "model": name,
        "weights": weights,
        "sha256": sha256,
        "test_error": 12.5,
        "parameters": 1234,
        "recipe": "quick",
        "net": describe_net(model),
        "value_range": (0, 255),
        "mean": (100.0, 110.0, 120.0),
        "deviation": (50.0, 60.0, 70.0),
        "size": (8, 8),
        "class_names": PETS,
        "licence": "MIT",
        "data_set": "Pets, 8 images",
    }
    return PackagedWeights(**{**settings, **facts})
