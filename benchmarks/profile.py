"""Where the time of a training step goes: python -m benchmarks.profile --net=PreResNet110.

TensorFlow's profiler watches a few steps; the time in which operations are busy is added up by what they are for.
Several operations run at once, so that the sum is more than the step takes: with --one_at_a_time each runs alone.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import tensorflow as tf
from absl import flags
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks.contestants import NETS, OURS, TRAINING
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

# Of an event "path/in/the/graph:Operation", or of the runtime's own; the first that fits.
GROUPS = {
    "input": r":(Iterator|PyFunc|OptionalGetValue)",
    "batch norm + ReLU": r"/sums(_\d+)?:|:.*(FusedBatchNorm|Relu)|^CpuExecutable::Execute",
    "convolution": r":.*(Conv2D|MatMul|BiasAdd)",
    "optimizer": r":(ResourceApply|L2Loss|AssignVariable|AssignAddVariable)",
    "additions": r":.*(AddV2|AddN|Sub)$",
    "loop and copies": r"^[^:]+:[A-Za-z_]\w*$",
}


def group_of(event: str) -> str | None:
    """Returns what an event's time is counted for, or None if it is that of others."""
    return next((group for group, pattern in GROUPS.items() if re.search(pattern, event)), None)


def operations(space: xplane_pb2.XSpace) -> Iterator[tuple[str, float]]:
    """Yields name and milliseconds of each event on the host and on accelerators that `group_of` knows."""
    for plane in space.planes:
        names = {key: metadata.name for key, metadata in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                yield names[event.metadata_id].split("#")[0], event.duration_ps / 1e9


def table_of(events: Iterator[tuple[str, float]], steps: int) -> pd.DataFrame:
    """Returns for each group its busy milliseconds a step, their share, and operations a step."""
    frame = pd.DataFrame(events, columns=["event", "busy ms"])
    frame["for"] = frame["event"].map(group_of)
    found = frame.groupby("for")["busy ms"].agg(["sum", "count"]).reindex(list(GROUPS)).fillna(0) / steps
    found.columns = ["busy ms", "operations"]
    found.insert(1, "share", found["busy ms"] / found["busy ms"].sum())
    return found


def profiled(step, steps: int) -> xplane_pb2.XSpace:
    """Returns what TensorFlow's profiler saw of so many calls of `step`."""
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(steps):
            step()
        tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        return xplane_pb2.XSpace.FromString(path.read_bytes())


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
