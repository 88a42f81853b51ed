"""Notes that a worker leaves of work that is done, so that no run does it again.

A note is believed only as it was written: it holds a checksum of itself. One that a disk or a
person has damaged is none, and costs that the work is done again.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from components.storage.files import read_file, write_file
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import parse_json

_CHECKSUM = "checksum"


def write_note(output: str, name: str, content: Mapping[str, Any]) -> None:
    """Writes a note, whole or not at all.

    Args:
      output: folder.
      name: of the note, inside the folder.
      content: what orjson writes.
    """
    write_file(output, name, orjson.dumps({**content, _CHECKSUM: _checksum(content)}))


def read_note(output: str, name: str) -> dict[str, Any]:
    """What a note says; nothing if there is none, or it is damaged."""
    text = read_file(output, name)
    if not text:
        return {}
    try:
        content = parse_json(text, source=name, fix="it is written again", kind=dict)
    except DataError:
        return {}
    return content if content.pop(_CHECKSUM, None) == _checksum(content) else {}


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.blake2b(orjson.dumps(content), digest_size=8).hexdigest()
