"""Which backend Keras would take. Imports nothing: commands ask before they load anything."""

import json
import os
from pathlib import Path


def keras_backend() -> str:
    """The backend that Keras takes when it is imported; looked up as Keras does, without it."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = Path.home()
        home = str((user if os.access(user, os.W_OK) else Path("/tmp")) / ".keras")
    try:
        written = json.loads((Path(home).expanduser() / "keras.json").read_text())
    except (OSError, ValueError):
        written = {}
    return os.environ.get("KERAS_BACKEND") or written.get("backend", "tensorflow")
