"""Convolution with a faster gradient where the kernel is 1x1."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_preresnet")
class Convolution(keras.layers.Conv2D):
    """`keras.layers.Conv2D`; the gradient to 1x1 kernels of stride 1 is that of `pointwise`."""

    def convolution_op(self, inputs, kernel):
        """Keras's hook for other implementations."""
        if self.kernel_size == (1, 1) and self.strides == (1, 1) and self.groups == 1:
            return pointwise(tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel))
        return super().convolution_op(inputs, kernel)


@tf.autograph.experimental.do_not_convert  # It would look through the decorator, and leave the gradient out.
@tf.custom_gradient
def pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the 1x1 convolution of x, `(batch, height, width, in)`, with a kernel `(1, 1, in, out)`.

    The gradient to the kernel is computed as the matrix product that it is: on a CPU in bfloat16 up to a third faster
    than by the kernel for convolutions, if the narrower factor stands first.
    """

    def gradient(of_outputs):
        """Gradients to x and to the kernel."""
        geometry = {"strides": [1, 1, 1, 1], "padding": "VALID"}
        of_x = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(x), filter=kernel, out_backprop=of_outputs, **geometry
        )
        _, _, width_in, width_out = kernel.shape
        rows, of_rows = tf.reshape(x, [-1, width_in]), tf.reshape(of_outputs, [-1, width_out])
        if width_in <= width_out:
            of_kernel = tf.matmul(rows, of_rows, transpose_a=True)
        else:
            of_kernel = tf.transpose(tf.matmul(of_rows, rows, transpose_a=True))
        return of_x, tf.reshape(of_kernel, kernel.shape)

    return tf.nn.conv2d(x, kernel, 1, "VALID"), gradient
