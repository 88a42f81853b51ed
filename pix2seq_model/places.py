"""A place as a person gives it, on a command line or in a config: local, or in a bucket."""

import csv
import os
import re
from collections.abc import Sequence

from pix2seq_model.errors import ConfigError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SPLIT = re.compile(r"(\w+)=(.+)", re.DOTALL)


def read_place(text: str, name: str) -> str:
    """A local path, `~` being the home folder, or an address gs://bucket/...; empty stays empty.

    Args:
      text: as given; file:///path is a local path too.
      name: of the flag or setting, for the message.

    Raises:
      ConfigError: an address of another kind, or one without a bucket.
    """
    found = _SCHEME.match(text)
    if not found:
        return os.path.expanduser(text)
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme == "file" and rest.startswith("/"):
        return rest
    if scheme != "gs":
        raise ConfigError(
            f"{name}={text}: addresses {found[0]} cannot be read or written here: copy what lies "
            "there to this machine, or to a bucket and give gs://bucket/folder"
        )
    if not rest.strip("/"):
        raise ConfigError(f"{name}={text} names no bucket: write gs://bucket/folder")
    return f"gs://{rest}"


def read_places(text: str, name: str) -> list[str]:
    """Several places between commas, each like `read_place`; one of them may be SPLIT=PLACE.

    A comma belongs to a path if there is such a path here, or if quotes are around it as in CSV.

    Raises:
      ConfigError: as `read_place`, or a place that is empty.
    """
    if not text.strip():
        return []
    try:
        (parts,) = csv.reader([text], strict=True, skipinitialspace=True)
    except (csv.Error, ValueError):
        raise ConfigError(f'{name}={text}: a quoted path ends with ", before a comma') from None
    places = _joined([part.strip() for part in parts], name)
    if "" in places:
        raise ConfigError(f"{name}={text}: a comma has nothing before or behind it: leave it out")
    return places


def _joined(parts: Sequence[str], name: str) -> list[str]:
    """The parts as places; those next to each other are one where only together they are there."""
    places, start = [], 0
    while start < len(parts):
        end = start + 1
        if not _is_here(_read(parts[start], name)):
            for longer in range(len(parts), start + 1, -1):
                if _is_here(_read(",".join(parts[start:longer]), name)):
                    end = longer
                    break
        places.append(_read(",".join(parts[start:end]), name))
        start = end
    return places


def _read(part: str, name: str) -> str:
    split = _SPLIT.fullmatch(part)
    return f"{split[1]}={read_place(split[2], name)}" if split else read_place(part, name)


def _is_here(place: str) -> bool:
    split = _SPLIT.fullmatch(place)
    return os.path.exists(place) or (split is not None and os.path.exists(split[2]))
