"""Where the time of a training step goes: python -m benchmarks.profile --net=PreResNet110.

TensorFlow's profiler watches a few steps; the time in which operations are busy is added up by what they are for.
Several operations run at once, so that the sum is more than the step takes: with --one_at_a_time each runs alone.
"""

import tensorflow as tf
from absl import flags

from benchmarks.contestants import NETS, OURS, TRAINING
from benchmarks.profiling import operations, profiled, table_of
from benchmarks.with_tensorflow import POLICIES, prepare
from benchmarks.worker import Job, measured_rate
from training.errors import run_program

FLAGS = flags.FLAGS

flags.DEFINE_enum("net", "PreResNet110", list(NETS), "the net")
flags.DEFINE_integer("batch_size", None, "images; default: that of the comparison", lower_bound=1)
flags.DEFINE_enum("precision", "bfloat16", list(POLICIES), "of the step")
flags.DEFINE_bool("remat", False, "whether units are computed a second time in the backward pass")
flags.DEFINE_integer("steps", 5, "steps watched", lower_bound=1)
flags.DEFINE_bool("one_at_a_time", False, "whether one operation runs after another")


def main() -> None:
    """Prints the table."""
    if FLAGS.one_at_a_time:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    batch_size = FLAGS.batch_size or NETS[FLAGS.net].batch_size
    setting = "remat" if FLAGS.remat else ""
    job = Job("benchmarks.with_tensorflow", OURS, FLAGS.precision, setting, TRAINING, FLAGS.net, batch_size)
    step = prepare(job).step
    milliseconds = 1000 / measured_rate(step, 3.0)
    found = table_of(operations(profiled(step, FLAGS.steps)), FLAGS.steps)
    title = f"{FLAGS.net}, batch {batch_size}, {FLAGS.precision}: {milliseconds:.0f} ms a step"
    print(f"{title}, {batch_size / milliseconds * 1000:.0f} images/s")
    print(
        found.to_string(
            formatters={"busy ms": "{:.1f}".format, "share": "{:.0%}".format, "operations": "{:.0f}".format}
        )
    )


if __name__ == "__main__":
    run_program(main)
