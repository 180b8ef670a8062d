"""Who is compared on what, and in which order: the processes of a comparison."""

import fnmatch
from pathlib import Path

from benchmarks.contestants import (
    COMPILED,
    CONTESTANTS,
    INFERENCE_BATCH_SIZE,
    LATENCY,
    MACHINE,
    MODULES,
    NETS,
    PEAK,
    PEAKS,
    TRAINING,
    Contestant,
    Net,
)
from benchmarks.processes import ContestantProcess, Measured
from benchmarks.worker import Job
from training.errors import UserError


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
    """Returns those whose names fit one of the patterns, in the patterns' order."""
    fitting = [
        contestant
        for pattern in patterns
        for contestant in CONTESTANTS
        if fnmatch.fnmatchcase(contestant.name, pattern)
        and (torch_compile or not contestant.setting.endswith(COMPILED))
    ]
    found = list(dict.fromkeys(fitting))
    if not found:
        names = "; ".join(contestant.name for contestant in CONTESTANTS)
        raise UserError(f"--contestants={','.join(patterns)} fits none of: {names}.")
    return found


def job_of(contestant: Contestant, task: str, net: Net) -> Job:
    """Returns what the contestant's process is asked for."""
    batch_size = {TRAINING: net.batch_size, LATENCY: 1}.get(task, INFERENCE_BATCH_SIZE)
    settings = contestant.package, contestant.precision, contestant.setting
    return Job(MODULES[contestant.package], *settings, task, net.model, batch_size)


def measure_task(
    contestants: list[Contestant], task: str, net: Net, logs: Path, limits: tuple[int, float, float, int]
) -> list[Measured]:
    """Measures those that have the task; one that cannot do it with this net has a row that says why.

    Args:
        contestants: Those chosen; where none can do it, a line on standard output says so.
        task: A key of `TASKS`.
        net: The net.
        logs: Folder for what the processes print, a file for each.
        limits: Turns, seconds, start limit and processes together: see `measure`.
    """
    able = [contestant for contestant in contestants if task in contestant.tasks]
    lacks = {job_of(contestant, task, net): contestant.lacks(net, task) for contestant in able}
    jobs = [job for job, lack in lacks.items() if lack is None]
    if not jobs:
        print(f"{task} of {net.model}: none of the contestants chosen can do it.", flush=True)
    return measure(jobs, logs, *limits) + [Measured(job, absent=lack) for job, lack in lacks.items() if lack]


def measure(
    jobs: list[Job], logs: Path, turns: int, seconds: float, start_limit: float, together: int
) -> list[Measured]:
    """Starts the first contestant and, group by group, the others; each of a group has its turns beside the first.

    Args:
        jobs: Of the contestants; of none nothing is measured.
        logs: Folder for what the processes print, a file for each.
        turns: Of each contestant; of the first with each group.
        seconds: Of a turn.
        start_limit: Seconds in which a first step must have ended.
        together: How many processes there are at a time.
    """
    if not jobs:
        return []
    first, *others = processes = [ContestantProcess(job, logs, start_limit) for job in jobs]
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


def machine_peaks(logs: Path, turns: int) -> list[Measured]:
    """Returns what the machine reaches in each operation and precision."""
    jobs = [
        Job("benchmarks.peak", MACHINE, precision, "", PEAK, operation, 1)
        for operation in PEAKS
        for precision in ("float32", "bfloat16")
    ]
    return measure(jobs, logs, turns, seconds=1.0, start_limit=120.0, together=len(jobs))
