"""Requests that TensorFlow Serving sends to itself before it serves a SavedModel: no client waits for the first.

https://www.tensorflow.org/tfx/serving/saved_model_warmup: `assets.extra/tf_serving_warmup_requests`, a TFRecord file of
`PredictionLog` messages.
"""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from keras_preresnet.runtimes import require_package

WARMUP_FILE = "tf_serving_warmup_requests"
WARMUP_PACKAGE = "tensorflow_serving.apis.prediction_log_pb2"
BATCH_SIZES = (1, 8)
FREE_SIDE = 64  # Where the net takes images of any size.


def write_warmup(
    path: Path, name: str, signatures: dict[str, tf.TensorSpec], sizes: Sequence[int] = BATCH_SIZES
) -> None:
    """Writes one request of grey images for each signature and batch size.

    Args:
        path: Of the file.
        name: Of the model; the server does not look at it.
        signatures: The input of each: `images`, uint8, or `image_bytes`, text, which gets a PNG of 64 x 64.
        sizes: Of the batches.

    Raises:
        ImportError: if tensorflow-serving-api is not installed.
    """
    log = require_package(WARMUP_PACKAGE)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, spec in signatures.items():
            for size in sizes:
                record = log.PredictionLog()
                request = record.predict_log.request
                request.model_spec.name, request.model_spec.signature_name = name, signature
                request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(_grey(spec, size)))
                writer.write(record.SerializeToString())


def _grey(spec, count):
    if spec.dtype == tf.string:
        png = tf.io.encode_png(tf.fill([FREE_SIDE, FREE_SIDE, 3], tf.constant(127, tf.uint8)))
        return tf.repeat(png[None], count).numpy()
    sides = [FREE_SIDE if side is None else side for side in spec.shape[1:]]
    return tf.fill([count, *sides], tf.constant(127, tf.uint8)).numpy()
