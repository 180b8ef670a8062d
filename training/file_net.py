"""An exported file as a net that can be asked, under the runtime that serves it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_preresnet.preprocessing import Preprocessing
from keras_preresnet.runtimes import LiteRT, OnnxRuntime
from training.errors import UserError
from training.files import read_json
from training.shapes import Shape, require_side

RUNTIMES = {".onnx": OnnxRuntime, ".tflite": LiteRT}  # By what its name ends in.


@dataclass(frozen=True)
class FileNet:
    """A file as `keras_preresnet.export_formats` writes it, its preprocessing inside.

    Args:
        name: For the user.
        runtime: Answers to uint8 images with logits.
        class_names: Or None.
        record: Nothing: a file does not know its run.
    """

    name: str
    runtime: OnnxRuntime | LiteRT
    class_names: tuple[str, ...] | None
    record: dict = field(default_factory=dict)

    @property
    def image_shape(self) -> Shape:
        """Of the images that it takes."""
        return self.runtime.image_shape

    @property
    def classes(self) -> int:
        """How many it tells apart."""
        return self.runtime.classes

    def for_side(self, side: int) -> "FileNet":
        """Returns the net itself if it takes images of this height and width; raises UserError if it does not."""
        require_side(self.name, self.image_shape, side)
        return self

    def answering(self, default: Callable[[], Preprocessing]) -> Callable[[tf.Tensor], np.ndarray]:
        """Returns the net as a function, with its own preprocessing; it takes uint8, so that images are rounded."""
        return lambda images: self.runtime(np.clip(np.round(images), 0, 255).astype(np.uint8))


def load_file_net(path: Path) -> FileNet:
    """Loads an ONNX or LiteRT file, and class names from the `.json` beside it.

    Raises:
        UserError: if its runtime is not installed, or it is damaged or not one of ours.
    """
    facts = read_json(path.with_name(f"{path.name}.json"))
    try:
        runtime = RUNTIMES[path.suffix](path)
    except ImportError as error:
        raise UserError(f"--net={path}: {error}.") from error
    except Exception as error:  # Each runtime has errors of its own.
        raise UserError(f"{path} is damaged, or was not written by training.export.") from error
    names = tuple(facts["class_names"]) if "class_names" in facts else None
    return FileNet(path.name, runtime, names)
