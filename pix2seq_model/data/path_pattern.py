"""Patterns of paths, such as photos/*.jpg: one matcher for this machine and for buckets."""

import fnmatch
import os
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from pix2seq_model.errors import ConfigError

_WILDCARDS = frozenset("*?[")
_ANY_FOLDERS = "**"


def has_wildcards(place: str | os.PathLike) -> bool:
    """Whether a place may be a pattern; a file may be called so, too."""
    return not _WILDCARDS.isdisjoint(os.fspath(place))


class PathPattern:
    """A pattern: * and ? stand for what is between slashes, [ab] for one of some characters.

    The part ** stands for any folders, also for none; at the end for all files below. Small and
    capital letters differ.

    Attributes:
      root: folder below which all files of the pattern are, without wildcards: "." if that is the
        one we are in.
      literal: the beginning of the pattern up to the first wildcard.
      start: what precedes a path relative to `root` in a whole path: `root` and a slash, or nothing
        if `root` is the folder that we are in and the pattern does not name it.
    """

    def __init__(self, place: str) -> None:
        """
        Args:
          place: local or gs://bucket/...

        Raises:
          ConfigError: the bucket is a pattern, or ** stands next to other characters.
        """
        parts = place.split("/")
        first = next(n for n, part in enumerate(parts) if has_wildcards(part))
        if "://" in place and first < 3:
            raise ConfigError(f"{place}: a bucket cannot be a pattern: write gs://bucket/*.jpg")
        self._place = place
        self._parts = [part for part in parts[first:] if part]
        if odd := [part for part in self._parts if _ANY_FOLDERS in part != _ANY_FOLDERS]:
            raise ConfigError(
                f"{place}: ** stands for folders, so nothing else is between its slashes: instead "
                f"of {odd[0]} write **/{odd[0].replace(_ANY_FOLDERS, '*')}"
            )
        if self._parts[-1] == _ANY_FOLDERS:
            self._parts.append("*")
        self.start = "/".join(parts[:first]) + "/" * bool(first)
        self.root = (self.start.rstrip("/") or "/") if self.start else os.curdir
        self.literal = self.start + self._parts[0][: _first_wildcard(self._parts[0])]

    def __str__(self) -> str:
        return self._place

    @property
    def names_an_ending(self) -> bool:
        """Whether all files of the pattern have the same ending, such as .jpg."""
        ending = PurePosixPath(self._parts[-1]).suffix
        return bool(ending) and not has_wildcards(ending)

    def fits(self, path: str) -> bool:
        """Whether a file, by its path relative to `root`, is one of the pattern."""
        return len(self._parts) in self._reached(path.split("/"))

    def leads_into(self, folder: str) -> bool:
        """Whether files of the pattern can be below a folder, by its path relative to `root`."""
        return any(place < len(self._parts) for place in self._reached(folder.split("/")))

    def means_hidden(self, path: str) -> bool:
        """Whether a file or folder is meant though it is hidden, by its path relative to `root`.

        It is where its part of the pattern begins with a dot, as in the shell, or is its name.
        """
        *folders, name = path.split("/")
        return any(
            part == name or (part.startswith(".") and fnmatch.fnmatchcase(name, part))
            for part in (self._parts[n] for n in self._reached(folders) if n < len(self._parts))
        )

    def _reached(self, names: Sequence[str]) -> set[int]:
        """The numbers of parts of the pattern that these names can be all of."""
        reached = self._with_no_folders({0})
        for name in names:
            reached = self._with_no_folders(
                place + (self._parts[place] != _ANY_FOLDERS)
                for place in reached
                if place < len(self._parts)
                and (
                    self._parts[place] == _ANY_FOLDERS
                    or fnmatch.fnmatchcase(name, self._parts[place])
                )
            )
        return reached

    def _with_no_folders(self, places: Iterable[int]) -> set[int]:
        found = set(places)
        for place, part in enumerate(self._parts):
            if part == _ANY_FOLDERS and place in found:
                found.add(place + 1)
        return found


def _first_wildcard(text: str) -> int:
    return next(n for n, character in enumerate(text) if character in _WILDCARDS)
