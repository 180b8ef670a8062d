"""Errors that a user can cause: one line to standard error and a non-zero exit, no traceback."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from absl import app, flags, logging

from training.interruption import STOPPED, Stopped


class UserError(Exception):
    """Says in one line what was received, what is allowed, and what to do."""


class Diverged(UserError):  # noqa: N818 - it says what a training has done.
    """A training has exploded: its loss, a weight or a logit is no number any more.

    Args:
        reason: What was seen, and where.
        remedy: What to do.
    """

    def __init__(self, reason: str, remedy: str):
        super().__init__(f"{reason}. {remedy}")
        self.reason = reason


@contextmanager
def user_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turns errors of these kinds, raised where a user's settings are read, into `UserError`."""
    try:
        yield
    except kinds as error:
        raise UserError(" ".join(str(error).split())) from error


def run_program(main: Callable[..., None], takes_arguments: bool = False) -> None:
    """Runs an absl program; a `UserError` becomes one line and exit code 1, `Stopped` a line and exit code 75.

    Args:
        main: The program.
        takes_arguments: Whether it is called with the list of what stands beside the flags, before or behind them.
    """

    def guarded(arguments):
        try:
            if takes_arguments:
                main(arguments[1:])
                return
            if len(arguments) > 1:
                raise UserError(f"unknown arguments: {' '.join(arguments[1:])}; see --help.")
            main()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        except Stopped as stopped:
            print(stopped, flush=True)
            sys.exit(STOPPED)

    logging.set_verbosity(logging.WARNING)
    flags.FLAGS.set_gnu_getopt(takes_arguments)
    app.run(guarded)
