"""Notes of a run next to its checkpoints, which a failing disk or a person may have damaged."""

from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from pix2seq_model.errors import DataError, shown
from pix2seq_model.json_file import read_json

# Behind the name of a note that could not be read.
DAMAGED = ".damaged"


def read_rows(
    path: epath.Path | None, *, keys: Mapping[str, type], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Reads a list of objects; one that is damaged is set aside, since training needs none of it.

    Args:
      path: of the file; None, as of a file that is not there, holds nothing.
      keys: that each object has, and the kinds of their values.
      say: is told what became of a damaged note.
    """
    if path is None or not path.exists():
        return []
    try:
        rows = read_json(path, fix="it is begun again", kind=list)
        for row in rows:
            for key, kind in keys.items():
                if type(row[key]) is not kind:  # true is a number as well.
                    raise TypeError(f"{key} is {shown(row[key])}")
        return list(rows)
    except (DataError, TypeError, KeyError) as error:
        aside = path.parent / f"{path.name}{DAMAGED}"
        path.replace(aside)
        why = error if isinstance(error, DataError) else f"{path} is damaged ({error!r})"
        say(f"{why}. It is called {aside.name} now.")
        return []
