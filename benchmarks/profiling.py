"""What TensorFlow's profiler saw of a training step, added up by what operations are for."""

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

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
    """Yields name and milliseconds of every event, on the host and on accelerators."""
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


def profiled(step: Callable[[], object], steps: int) -> xplane_pb2.XSpace:
    """Returns what TensorFlow's profiler saw of so many calls of `step`."""
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(steps):
            step()
        tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        return xplane_pb2.XSpace.FromString(path.read_bytes())
