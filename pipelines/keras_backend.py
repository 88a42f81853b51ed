"""Which backend Keras would take. Imports nothing large: commands ask before they load anything."""

import os
from pathlib import Path

from pix2seq_model.errors import DataError
from pix2seq_model.json_file import read_json


def keras_backend() -> str:
    """The backend that Keras takes when it is imported; looked up as Keras does, without it."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = Path.home()
        home = str((user if os.access(user, os.W_OK) else Path("/tmp")) / ".keras")
    try:
        written = read_json(Path(home).expanduser() / "keras.json", fix="", kind=dict)
    except (OSError, DataError):  # Keras goes without it too.
        written = {}
    return os.environ.get("KERAS_BACKEND") or written.get("backend", "tensorflow")
