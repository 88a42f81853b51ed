"""Runs a module so that Google's log gives what it says the right severity.

    python -m components.cloud_log MODULE ARGUMENT ...

Vertex AI takes each line on standard output for INFO and each on standard error for ERROR. Python
writes logs and warnings to standard error, as we do our progress. Here they go to standard output,
and only errors, and the trace of what ends the process, to standard error.
"""

import logging
import runpy
import sys
import traceback
from collections.abc import Sequence

from absl import logging as absl_logging

_PYTHON = ["python", "-m"]


def logged(command: Sequence[str]) -> list[str]:
    """A command that runs a module, with its lines sorted by severity.

    Raises:
      ValueError: it does not run a module by `python -m`.
    """
    if [*command[:2]] != _PYTHON:
        raise ValueError(f"a command that does not begin with python -m: {command}")
    return [*_PYTHON, "components.cloud_log", *command[2:]]


def main(module: str, arguments: Sequence[str]) -> None:
    """Runs a module as the program, in this process."""
    errors, sys.stderr = sys.stderr, sys.stdout
    absl_logging.use_absl_handler()
    usual = absl_logging.get_absl_handler().python_handler
    usual.setStream(sys.stdout)
    usual.addFilter(lambda record: record.levelno < logging.ERROR)
    of_errors = logging.StreamHandler(errors)
    of_errors.setLevel(logging.ERROR)
    of_errors.setFormatter(absl_logging.PythonFormatter())
    logging.root.addHandler(of_errors)
    sys.excepthook = lambda *error: traceback.print_exception(*error, file=errors)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
