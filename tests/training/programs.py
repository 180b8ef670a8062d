"""The real programs, as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOISE = ("I0000", "E0000", "W0000", "WARNING: All log", "To enable the following")  # Of TensorFlow's C++ parts.


def run_program(name: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Runs `python -m training.<name>` to its end."""
    command = [sys.executable, "-m", f"training.{name}", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd or ROOT, env=environment, timeout=300)


def messages(process: subprocess.CompletedProcess) -> list[str]:
    """Returns the lines of standard error that are the program's own."""
    return [line for line in process.stderr.splitlines() if line and not line.startswith(NOISE)]
