"""This package beside stock Keras, keras.applications and PyTorch: python -m benchmarks.compare.

Each contestant runs in a process of its own. A few at a time take turns with the first of them, so that a drift of the
machine's speed meets all alike; ratios are taken turn by turn. Measured are training and inference in images/s, the
latency of one image, the time from the start of the process to the end of the first step, and peak resident memory;
and what the machine could do at best. A contestant that is not installed, has no such net, fails or is too slow to
begin has a row that says so. Run it on an idle machine.
"""

import fnmatch
from pathlib import Path

from absl import flags

from benchmarks.comparison_report import write_report
from benchmarks.contestants import (
    CONTESTANTS,
    INFERENCE_BATCH_SIZE,
    LATENCY,
    MACHINE,
    MODULES,
    NETS,
    PEAK,
    PEAKS,
    TASKS,
    TRAINING,
    Contestant,
    Net,
)
from benchmarks.processes import ContestantProcess, Measured
from benchmarks.worker import Job
from training.errors import UserError, run_program

FLAGS = flags.FLAGS

flags.DEFINE_list(
    "nets",
    [name for name in NETS if name != "PreResNet1001"] + ["PreResNet1001:16", "PreResNet1001:64"],
    "nets, each with the batch size of its training behind a colon if wanted",
)
flags.DEFINE_multi_enum("task", list(TASKS), list(TASKS), "what is measured; may be given several times")
flags.DEFINE_list("contestants", ["*"], "patterns of the contestants' names, like 'PyTorch*'")
flags.DEFINE_bool("torch_compile", False, "whether torch.compile is among the contestants")
flags.DEFINE_integer("turns", 5, "turns of each contestant", lower_bound=1)
flags.DEFINE_float("seconds", 5.0, "seconds of a turn; at least two steps are made", lower_bound=0)
flags.DEFINE_float("start_limit", 900.0, "seconds in which a first step must have ended", lower_bound=1)
flags.DEFINE_integer("together", 4, "processes at a time: all of them are in memory", lower_bound=2)
flags.DEFINE_string("out", "runs/benchmark", "folder for the table, CSV, JSON and chart")


def chosen_nets(entries: list[str]) -> list[Net]:
    """Returns the nets with the batch sizes asked for."""
    found = []
    for entry in entries:
        name, _, batch_size = entry.partition(":")
        if name not in NETS or (batch_size and not (batch_size.isdigit() and int(batch_size))):
            raise UserError(f"--nets={entry} is refused: {', '.join(NETS)}, or like PreResNet20:128, is needed.")
        net = NETS[name]
        found.append(net._replace(batch_size=int(batch_size)) if batch_size else net)
    return found


def chosen_contestants(patterns: list[str], torch_compile: bool) -> list[Contestant]:
    """Returns those whose names fit one of the patterns."""
    found = [
        contestant
        for contestant in CONTESTANTS
        if any(fnmatch.fnmatchcase(contestant.name, pattern) for pattern in patterns)
        and (torch_compile or contestant.setting != "torch.compile")
    ]
    if not found:
        names = "; ".join(contestant.name for contestant in CONTESTANTS)
        raise UserError(f"--contestants={','.join(patterns)} fits none of: {names}.")
    return found


def job_of(contestant: Contestant, task: str, net: Net) -> Job:
    """Returns what the contestant's process is asked for."""
    batch_size = {TRAINING: net.batch_size, LATENCY: 1}.get(task, INFERENCE_BATCH_SIZE)
    settings = contestant.package, contestant.precision, contestant.setting
    return Job(MODULES[contestant.package], *settings, task, net.model, batch_size)


def measure(
    jobs: list[Job], log: Path, turns: int, seconds: float, start_limit: float, together: int
) -> list[Measured]:
    """Starts the first contestant and, group by group, the others; each of a group has its turns beside the first.

    Args:
        jobs: Of the contestants.
        log: File for what the processes print.
        turns: Of each contestant; of the first with each group.
        seconds: Of a turn.
        start_limit: Seconds in which a first step must have ended.
        together: How many processes there are at a time.
    """
    first, *others = processes = [ContestantProcess(job, log, start_limit) for job in jobs]
    size = max(together - 1, 1)
    groups = [others[begin : begin + size] for begin in range(0, len(others), size)]
    try:
        first.start()
        for group in groups or [[]]:
            for process in group:
                process.start()
            for _ in range(turns):
                rate = first.turn(seconds)
                for process in group:
                    process.turn(seconds, rate)
            for process in group:
                process.end()
        first.end()
        return [process.measured for process in processes]
    finally:
        for process in processes:
            process.kill()


def machine_peaks(log: Path, turns: int) -> list[Measured]:
    """Returns what the machine reaches in each operation and precision."""
    jobs = [
        Job("benchmarks.peak", MACHINE, precision, "", PEAK, operation, 1)
        for operation in PEAKS
        for precision in ("float32", "bfloat16")
    ]
    return measure(jobs, log, turns, seconds=1.0, start_limit=120.0, together=len(jobs))


def main() -> None:
    """Measures and writes; what was measured is written after each net, so that an end halfway loses little."""
    nets, contestants = chosen_nets(FLAGS.nets), chosen_contestants(FLAGS.contestants, FLAGS.torch_compile)
    out = Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    log = out / "log.txt"
    results = machine_peaks(log, FLAGS.turns)
    for net in nets:
        for task in FLAGS.task:
            able = [contestant for contestant in contestants if task in contestant.tasks]
            lacks = {job_of(contestant, task, net): contestant.lacks(net, task) for contestant in able}
            jobs = [job for job, lack in lacks.items() if lack is None]
            limits = FLAGS.turns, FLAGS.seconds, FLAGS.start_limit, FLAGS.together
            results += measure(jobs, log, *limits)
            results += [Measured(job, absent=lack) for job, lack in lacks.items() if lack]
            print(write_report(results, out), flush=True)
    print(f"table.md, table.csv, results.json, chart.png: {out}")


if __name__ == "__main__":
    run_program(main)
