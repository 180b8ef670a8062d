"""What an exported net does with a request: functions of TensorFlow alone, its weights inside.

A server merges the requests of several clients into one batch. So no row may fail a call: one that is no image is
answered as such, and the others are none the wiser.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_preresnet.decoding import declared_pixels, is_image
from keras_preresnet.preprocessing import Preprocessing
from keras_preresnet.views import centre_view, rounded, show_view

MAX_PIXELS = 50_000_000  # 150 MB in RGB.


class Endpoints:
    """The endpoints of one net.

    Args:
        model: Takes preprocessed float32 images, answers with logits; every weight a constant.
        preprocessing: Of images of 0 to 255.
        class_names: In the order of the logits.
        short_side: To which the shorter side of an encoded image is resized before the central crop of the net's size.
        max_pixels: Encoded images that declare more are refused before they are decoded.
    """

    def __init__(
        self,
        model: keras.Model,
        preprocessing: Preprocessing,
        class_names: Sequence[str],
        short_side: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ):
        self.model = model
        self.preprocessing = preprocessing
        self.class_names = list(class_names)
        _, self.height, self.width, self.channels = model.input_shape
        self.short_side = short_side or self.height
        self.max_pixels = max_pixels
        self.images = tf.TensorSpec(model.input_shape, tf.uint8, name="images")
        self.image_bytes = tf.TensorSpec([None], tf.string, name="image_bytes")  # `_bytes`: base64 in JSON requests.
        self.embeds = any(layer.name == "avg_pool" for layer in model.layers)
        # One function that all endpoints call, so that the file holds its constants once.
        self._answer = tf.function(self._run, input_signature=[self.images], autograph=False)

    @property
    def takes_files(self) -> bool:
        """Whether `predict_bytes` can be: the net takes grey or RGB squares of a known size."""
        return self.channels in (1, 3) and self.height is not None and self.height == self.width

    def predict(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns logits and probabilities, float32 `(batch, classes)`, class_id, int64, and label, text `(batch,)`.

        Args:
            images: uint8 `(batch, height, width, channels)` of 0 to 255.
        """
        logits = self._answer(images)["logits"]
        class_id = tf.argmax(logits, axis=-1)
        label = tf.gather(tf.constant(self.class_names), class_id)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits), "class_id": class_id, "label": label}

    def predict_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns what `predict` does of encoded images, and which of them could be decoded.

        Where `valid` is False, `error` says why, logits and probabilities are NaN, class_id is -1 and label empty.

        Args:
            image_bytes: Text `(batch,)`: JPEG, PNG, GIF or BMP of any size and mode.
        """
        images, error = self._decode(image_bytes)
        valid = error == ""
        answers = self.predict(images)
        nothing = {"logits": float("nan"), "probabilities": float("nan"), "class_id": -1, "label": ""}
        for name, value in nothing.items():
            rows = valid[:, None] if answers[name].shape.rank == 2 else valid
            answers[name] = tf.where(rows, answers[name], tf.constant(value, answers[name].dtype))
        return {**answers, "valid": valid, "error": error}

    def embed(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `embedding`, the pooled last feature, float32 `(batch, width)`; images as of `predict`."""
        return {"embedding": self._answer(images)["embedding"]}

    def _run(self, images):
        """TensorFlow's fused convolutions fail on an empty batch: it goes through as one black image."""
        outputs = {"logits": self.model.output}
        if self.embeds:
            outputs["embedding"] = self.model.get_layer("avg_pool").output
        count = tf.shape(images)[0]
        filled = tf.pad(images, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        answers = keras.Model(self.model.inputs, outputs)(self.preprocessing(filled), training=False)
        return {name: answer[:count] for name, answer in answers.items()}

    def _decode(self, image_bytes):
        """Images uint8 `(batch, height, width, channels)`, black where there is none, and errors, text `(batch,)`."""

        def show(encoded):
            """The image as evaluation would see it, and no error."""

            def view(size):
                return centre_view(size, self.short_side, self.height)

            image = show_view(encoded, view, self.height, "triangle", self.channels, self.max_pixels)
            return rounded(image), tf.constant("")

        def refuse(encoded):
            """A black image, and the error."""
            return tf.zeros(self.images.shape[1:], tf.uint8), self._reason(encoded)

        def rows():
            each = tf.data.Dataset.from_tensor_slices(image_bytes)
            decoded = each.map(lambda encoded: _first_that_works(encoded, show, refuse), tf.data.AUTOTUNE)
            return decoded.batch(tf.size(image_bytes, tf.int64)).get_single_element()

        def none():
            return tf.zeros([0, *self.images.shape[1:]], tf.uint8), tf.zeros([0], tf.string)

        images, error = tf.cond(tf.size(image_bytes) > 0, rows, none)
        return tf.ensure_shape(images, self.images.shape), tf.ensure_shape(error, [None])

    def _reason(self, encoded):
        pixels = _first_that_works(encoded, declared_pixels, lambda _: tf.constant(0, tf.int64))
        large = tf.strings.format("{} pixels are more than the limit of {}", (pixels, self.max_pixels))
        of_image = tf.where(pixels > self.max_pixels, large, "damaged or cut off")
        return tf.where(is_image(encoded), of_image, "no JPEG, PNG, GIF or BMP")  # Text declares numbers of pixels too.


def _first_that_works(value, function, otherwise):
    """`function(value)`, or `otherwise(value)` if that fails: a graph has no other way to catch an error."""
    one = tf.data.Dataset.from_tensors(value)
    return one.map(function).ignore_errors().concatenate(one.map(otherwise)).take(1).get_single_element()
