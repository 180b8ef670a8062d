"""This package beside stock Keras, keras.applications and PyTorch: python -m benchmarks.compare.

Each contestant runs in a process of its own. A few at a time take turns with the first of them, so that a drift of the
machine's speed meets all alike; ratios are taken turn by turn. Measured are training and inference in images/s, the
latency of one image, the time from the start of the process to the end of the first step, and peak resident memory;
and what the machine could do at best. A contestant that is not installed, has no such net, fails or is too slow to
begin has a row that says so. Run it on an idle machine.
"""

from pathlib import Path

from absl import flags

from benchmarks.comparison import chosen_contestants, chosen_nets, machine_peaks, measure_task
from benchmarks.comparison_report import frame_of, table_of, write_report
from benchmarks.contestants import NETS, TASKS
from training.errors import run_program

FLAGS = flags.FLAGS

flags.DEFINE_list(
    "nets",
    [name for name in NETS if name != "PreResNet1001"] + ["PreResNet1001:16", "PreResNet1001:64"],
    "nets, each with the batch size of its training behind a colon if wanted",
)
flags.DEFINE_multi_enum("task", list(TASKS), list(TASKS), "what is measured; may be given several times")
flags.DEFINE_multi_string(
    "contestants",
    ["*"],
    "pattern of contestants' names, like 'PyTorch*'; may be given several times. The first one that fits the first "
    "pattern is the one that all others take turns with",
)
flags.DEFINE_bool("torch_compile", False, "whether torch.compile is among the contestants")
flags.DEFINE_integer("turns", 5, "turns of each contestant", lower_bound=1)
flags.DEFINE_float("seconds", 5.0, "seconds of a turn; at least two steps are made", lower_bound=0)
flags.DEFINE_float("start_limit", 900.0, "seconds in which a first step must have ended", lower_bound=1)
flags.DEFINE_integer("together", 4, "processes at a time: all of them are in memory", lower_bound=2)
flags.DEFINE_string("output_dir", "runs/benchmark", "folder for the table, CSV, JSON and chart")


def main() -> None:
    """Measures and writes; what was measured is written after each net, so that an end halfway loses little."""
    nets, contestants = chosen_nets(FLAGS.nets), chosen_contestants(FLAGS.contestants, FLAGS.torch_compile)
    out = Path(FLAGS.output_dir)
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    limits = FLAGS.turns, FLAGS.seconds, FLAGS.start_limit, FLAGS.together
    results = machine_peaks(logs, FLAGS.turns)
    print(table_of(frame_of(results)), flush=True)
    for net in nets:
        for task in FLAGS.task:
            found = measure_task(contestants, task, net, logs, limits)
            results += found
            frame = write_report(results, out)
            if found:
                print(table_of(frame.tail(len(found))), flush=True)
    print(f"table.md, table.csv, results.json, chart.png: {out}")


if __name__ == "__main__":
    run_program(main)
