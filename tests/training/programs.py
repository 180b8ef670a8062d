"""The real programs, as a user starts them."""

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOISE = ("I0000", "E0000", "W0000", "WARNING: All log", "To enable the following")  # Of TensorFlow's C++ parts.
SECONDS = 400


@functools.cache
def _prepared() -> subprocess.Popen:
    command = [sys.executable, str(Path(__file__).with_name("prepared.py"))]
    process = subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.communicate)  # It ends with its input.
    return process


def environment() -> dict[str, str]:
    """Returns that of this process, in which the project is found."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run_program(
    name: str, *arguments: object, cwd: Path | None = None, fresh: bool = False
) -> subprocess.CompletedProcess:
    """Runs `python -m training.<name>` to its end.

    That is a fork of a process that has TensorFlow imported (see prepared.py), unless `fresh`.
    """
    module, arguments, folder = f"training.{name}", [*map(str, arguments)], str(cwd or ROOT)
    if fresh or sys.platform != "linux":
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=folder, env=environment(), timeout=SECONDS, check=False
        )
    with tempfile.TemporaryDirectory() as files:
        paths = [Path(files, stream) for stream in ("output", "errors")]
        request = {"module": module, "arguments": arguments, "folder": folder, "environment": environment()}
        request |= {"files": [*map(str, paths)], "seconds": SECONDS}
        server = _prepared()
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, *(path.read_text() for path in paths))


def messages(process: subprocess.CompletedProcess) -> list[str]:
    """Returns the lines of standard error that are the program's own."""
    return [line for line in process.stderr.splitlines() if line and not line.startswith(NOISE)]
