"""The file in which TFX remembers what ran: looked at before anything is trusted to it."""

import contextlib
import os
import sqlite3
from pathlib import Path

from pix2seq_model.errors import DataError


def check_metadata_file(path: str | os.PathLike[str]) -> None:
    """Checks that SQLite can read a file to its end; one that is not there is made by the run.

    TFX shows a damaged one as an error of a stage, or not before a stage of hours has ended.

    Raises:
      DataError: it is damaged; says what is lost without it, and what is not.
    """
    place = Path(path)
    if not place.exists():
        return
    try:
        # Read-only, or SQLite would make files next to it.
        with contextlib.closing(
            sqlite3.connect(f"{place.resolve().as_uri()}?mode=ro", uri=True)
        ) as database:
            found = [row[0] for row in database.execute("PRAGMA quick_check(1)")]
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            return  # Whoever uses it will say what is wrong.
        found = [str(error)]
    if found != ["ok"]:
        raise DataError(
            f"{place} is damaged ({found[0].splitlines()[-1]:.200}): it says which stages are "
            "done. Put a copy in its place, or move it away and run the same command again: data "
            "are converted and models evaluated again, trainings go on where they were"
        )


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    # The code may be an extended one, such as SQLITE_CORRUPT_INDEX: its last byte is the kind.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )
