"""A failure that would come again is noted in its run's folder, and no retry repeats it there.

Vertex AI tries a failed step again, as most failures pass: machines are taken away, networks break.
Data or settings that cannot work do not pass, and each attempt would pay for machines.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from etils import epath

from pix2seq_model.atomic_write import write_json
from pix2seq_model.errors import (
    DataError,
    FolderInUseError,
    TrainingInterruptedError,
    UnavailableError,
    UserError,
    WorkerLostError,
)
from pix2seq_model.json_file import read_json

_PASSING = (FolderInUseError, TrainingInterruptedError, UnavailableError, WorkerLostError)


def note_of(context: Any, uri: str) -> str:
    """Where a step's failure is noted; "" on this machine, where nothing is tried again.

    Args:
      context: of the step's executor.
      uri: of one of its outputs; on Vertex AI <root>/<project>/<run>/<step>_<number>/<output>.
    """
    run, _, name = uri.rpartition("/")[0].rpartition("/")
    try:
        step = os.path.basename(context.get_tmp_path().rstrip("/"))
    except (AttributeError, RuntimeError):  # Without a context or a temporary folder.
        return ""
    if name != step:
        return ""
    return f"{run}/{name.rpartition('_')[0]}-failed.json"


def noted_failure(note: str) -> str:
    """What the note says; "" if there is none, or it is damaged."""
    if not note or not epath.Path(note).exists():
        return ""
    # One that cannot be read holds up nothing: what has failed for good will fail again.
    with contextlib.suppress(DataError, KeyError):
        return str(read_json(epath.Path(note), fix="", kind=dict)["message"])
    return ""


@contextlib.contextmanager
def remembered(note: str) -> Iterator[None]:
    """Refuses to do again what has failed for good, and notes such a failure of the block.

    Raises:
      UserError: it failed before in this run.
    """
    if before := noted_failure(note):
        raise UserError(
            f"{before}\nThis run failed by that before ({note}), so it was not tried again: fix "
            "it and submit the run again."
        )
    try:
        yield
    except UserError as error:
        if note and not isinstance(error, _PASSING):
            epath.Path(os.path.dirname(note)).mkdir(parents=True, exist_ok=True)
            write_json(epath.Path(note), {"message": str(error)})
        raise
