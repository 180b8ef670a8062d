"""Run by programs.py: a Python that has imported TensorFlow, which takes seconds, and forks for each program.

TensorFlow has no threads of its own before its first operation, so that this process can be forked. Reads lines of
JSON: module, arguments, folder, environment, files for output and errors, seconds allowed. Answers each with the
program's exit code.
"""

import json
import os
import runpy
import signal
import sys

import keras  # noqa: F401 - and with it TensorFlow.
import pandas  # noqa: F401 - what every program imports besides.


def become(request: dict) -> None:
    """Makes this process what `python -m` would have started."""
    for number, (name, mode) in enumerate(zip((os.devnull, *request["files"]), "rww", strict=True)):
        with open(name, mode) as file:
            os.dup2(file.fileno(), number)
    signal.alarm(request["seconds"])  # It ends a program that hangs.
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    sys.path[0] = request["folder"]


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            become(request)
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
            sys.exit()
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


main()
