"""Which file of a store is meant by the `file_name` of an annotation row.

Names are compared without regard to upper and lower case, percent-encoding, Unicode's normal forms
and the direction of slashes. Of a path that belongs to another machine, and of a URL, the end
counts. Nothing is guessed: a file in a folder that the row does not name is taken only if that
folder says nothing (`images`, `train2017`), or if the row names none and no other file has its
name; and never out of another split's folder.
"""

import array
import contextlib
import functools
import itertools
import posixpath
import re
import unicodedata
import urllib.parse
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

# How surely a file is the row's: its own path; all of the path; the path without some folders.
EXACT, WHOLE, PARTIAL = 2, 1, 0

_URL = re.compile(r"[a-z][a-z0-9+.-]+://[^/]*", re.IGNORECASE)
_DRIVE = re.compile(r"[a-z]:(?=/)", re.IGNORECASE)
_LABEL_STUDIO = re.compile(r".*/local-files/\?d=")
# What Label Studio puts in front of the names of uploaded files.
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
_PATCH = re.compile(r"patch\d+")
_ROLES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
_SPLITS = {"train", "val", "test"}
_SAYS_NOTHING = re.compile(
    r"(?:(?:images?|imgs?|pictures?|photos?|jpegimages|data|dataset|default|export"
    r"|train(?:ing)?|val(?:id(?:ation)?)?|test(?:ing)?)[-_ ]?)+(?:20\d\d)?|patch\d+|v\d",
    re.IGNORECASE,
)
NO_PHOTOGRAPHS = re.compile(r"(?:^|[^a-z])(?:mask|label|seg|thumb|depth|annot)", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\W_]+")
_NO_IMAGES = (".txt", ".xml", ".json", ".csv", ".yaml")
_SHOWN = 3


class NameMatch(NamedTuple):
    """What a name came to.

    Attributes:
      path: of the file, inside the store; empty if it is not certain or not there.
      rank: `EXACT`, `WHOLE` or `PARTIAL`.
      rule: `image_name_differs` of a file found by another spelling, `image_missing` or
        `image_ambiguous` where there is no path; else empty.
      detail: for the rule.
    """

    path: str
    rank: int = PARTIAL
    rule: str = ""
    detail: str = ""


def _unquoted(text: str) -> str:
    try:
        return urllib.parse.unquote(text, errors="strict") if "%" in text else text
    except UnicodeDecodeError:
        return text


def _split(path: str) -> list[str]:
    return _unquoted(path.replace("\\", "/")).split("/")


def _key(part: str) -> str:
    return (part if part.isascii() else unicodedata.normalize("NFC", part)).lower()


@functools.lru_cache(maxsize=1 << 12)  # Of folders and of names that many videos have.
def _loose_part(part: str) -> str:
    if not part.isascii():
        part = unicodedata.normalize("NFKD", part)
    return _SEPARATORS.sub("", part.lower())


def _loose(parts: Sequence[str]) -> str:
    """The same for names that differ in the kind of file, accents or separators too."""
    *folders, name = parts
    return "/".join([*map(_loose_part, folders), _loose_part(name.rpartition(".")[0] or name)])


def _is_from_elsewhere(file_name: str) -> bool:
    name = file_name.replace("\\", "/")
    return name.startswith(("/", "../")) or bool(_URL.match(name) or _DRIVE.match(name))


def name_parts(file_name: str) -> list[str]:
    """Returns the folders and the base name of a path or URL, without what leads to its place."""
    name = file_name.replace("\\", "/")
    # Most names are plain, and there are millions.
    if "?" in name:
        name = _LABEL_STUDIO.sub("", name)
    if "://" in name and (url := _URL.match(name)):
        name = re.split("[?#]", name[url.end() :])[0]
    if ":" in name:
        name = _DRIVE.sub("", name, count=1)
    name = posixpath.normpath(_unquoted(name).replace("\\", "/"))
    return [part for part in name.split("/") if part not in ("", ".", "..")]


def same_name_key(file_name: str) -> str:
    """Returns what all names have in common that may mean the same file."""
    return uploaded_name(_key((name_parts(file_name) or [""])[-1]))


def lookup_key(file_name: str) -> str:
    """Returns the same for a row's name and for each file that it may be found as.

    Names with the same `same_name_key` have the same. A file whose name has a prefix as of an
    upload, but not its hyphen, has another one than a row with the prefix: it could only be named
    as a hint.
    """
    name = same_name_key(file_name)
    while (shorter := uploaded_name(name)) != name:
        name = shorter
    return _loose([name])


def uploaded_name(name: str) -> str:
    """Returns a base name without the eight digits that Label Studio puts in front of it."""
    return _UPLOAD.sub("", name) if _UPLOAD.match(name) else name


def plain_name(file_name: str) -> str:
    """Returns the path that a URL ends with; other names as they are."""
    return "/".join(name_parts(file_name)) if _URL.match(file_name) else file_name


def common_folder(path: str, folder: str | None) -> str:
    """Returns the folder, with its slash, that a file is in and another folder is or is in.

    Args:
      path: of the file.
      folder: the other one, with its slash; empty for the root, None if there is none yet.
    """
    own = path[: path.rfind("/") + 1]
    if folder is None:
        return own
    while not own.startswith(folder):
        folder = folder[: folder.rfind("/", 0, -1) + 1]
    return folder


class NameIndex:
    """All paths of a store, in some 80 bytes each, found by the end of a path, loosely spelled.

    Attributes:
      top: the folders that all paths have in common.
    """

    def __init__(self, paths: Iterable[str], *, top: str | None = None):
        """
        Args:
          paths: of all files, or of some with `top`.
          top: the folder that all files have in common, with its slash, as of `common_folder`.
        """
        text, ends = bytearray(), array.array("q", [0])
        hashes = {1: array.array("q"), 2: array.array("q")}
        shared: str | None = top
        for path in paths:
            with contextlib.suppress(UnicodeEncodeError):  # No annotation file can name it.
                text += path.encode()
            ends.append(len(text))
            loose = _loose(_split(path)[-2:])
            hashes[1].append(hash(loose[loose.find("/") + 1 :]))
            hashes[2].append(hash(loose))
            if top is None:
                shared = common_folder(path, shared)
        self.top = _split(shared.rstrip("/")) if shared else []
        self._text, self._ends = bytes(text), ends
        self._by_hash = {}
        for depth, values in hashes.items():
            of_all = np.frombuffer(values, np.int64) if values else np.empty(0, np.int64)
            order = np.argsort(of_all, kind="stable").astype(np.int32)
            self._by_hash[depth] = (of_all[order], order)

    def like(self, parts: Sequence[str]) -> list[str]:
        """Returns the paths, sorted, whose last one or two parts are loosely `parts`."""
        wanted = _loose(parts)
        hashes, order = self._by_hash[len(parts)]
        first, last = (np.searchsorted(hashes, hash(wanted), side) for side in ("left", "right"))
        found = [
            self._text[self._ends[i] : self._ends[i + 1]].decode()
            for i in order[first:last].tolist()
        ]
        return sorted(path for path in found if _loose(_split(path)[-len(parts) :]) == wanted)

    def __contains__(self, path: str) -> bool:
        return path in self.like(_split(path)[-2:])


def _roles(folders: Iterable[str]) -> set[str]:
    """What folders are for: the words of their names, a split's always as the same word."""
    words = (word for folder in folders for word in (folder, *re.findall("[a-z]+", folder.lower())))
    return {_ROLES.get(word.lower(), word.lower()) for word in words}


def split_roles(names: Iterable[str]) -> set[str]:
    """Returns which of "train", "val" and "test" the words of some names of folders say."""
    return _roles(names) & _SPLITS


@functools.lru_cache(maxsize=1 << 12)  # Of folders.
def split_role(path: str, *, top: int = 0) -> str:
    """Returns the split that a path says: "train", "val", "test"; empty if none or several.

    A name that is such a word and no more counts first: `train/test_scene` is of train.

    Args:
      path: of a file or folder.
      top: so many folders at its beginning all others share; of them only such names count.
    """
    parts = path.split("/")
    names = [part.lower().partition(".")[0].rstrip("0123456789") for part in parts]
    exact = {_ROLES.get(name, name) for name in names} & _SPLITS
    found = exact or split_roles(parts[top:])
    return found.pop() if len(found) == 1 else ""


def _is_of_another(
    dropped: Sequence[str], above: Sequence[str], *, split: str, splits: Collection[str]
) -> bool:
    """Whether a file lies in the folder of another split or patch than the row.

    Args:
      dropped: folders of the row that the file is not in.
      above: folders of the file that the row does not name.
      split, splits: the row's, and all of the conversion.
    """
    asked, there, ours = _roles(dropped), _roles(above), _roles([split])
    if not asked & _SPLITS and there & (_roles(splits) - ours) and not there & ours:
        return True
    of_splits = asked & _SPLITS, there & _SPLITS
    of_patches = [set(filter(_PATCH.fullmatch, roles)) for roles in (asked, there)]
    return any(a and b and a.isdisjoint(b) for a, b in (of_splits, of_patches))


def _says_nothing(dropped: Sequence[str], above: Sequence[str], *, top: Sequence[str]) -> bool:
    """Whether only one of row and file, or none, names a folder that means something.

    Args:
      dropped, above: see `_is_of_another`.
      top: folders that all files of the store are in; they mean something to a row that does.
    """
    if all(map(_SAYS_NOTHING.fullmatch, dropped)):
        above = above[len(top) :]
    return all(map(_SAYS_NOTHING.fullmatch, above))


def match_name(
    file_name: str, names: NameIndex, *, split: str = "", splits: Collection[str] = ()
) -> NameMatch:
    """Finds the one file that a row means.

    Of several, the longest common end of the paths counts, then the literal spelling, then that
    it lies in a folder of the row's split.

    Args:
      file_name: as the annotation file has it.
      names: of the store.
      split, splits: the row's, and all of the conversion.
    """
    parts = name_parts(file_name)
    if not parts:
        return NameMatch("", rule="image_missing", detail=file_name)
    keys = [_key(part) for part in parts]

    def common(path: str) -> int:
        pairs = zip(reversed(keys), map(_key, reversed(_split(path))))
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

    like: list[str] = []
    fitting: dict[str, int] = {}
    # The parent folder as well at first: thousands of videos each have a frame of this base name.
    for depth in range(min(len(parts), 2), 0, -1):
        like = names.like(parts[-depth:])
        same = {path: length for path in like if (length := common(path)) >= depth}
        for path, length in same.items():
            folders = parts[:-length], _split(path)[:-length]
            if not _is_of_another(*folders, split=split, splits=splits):
                if _says_nothing(*folders, top=names.top):
                    fitting[path] = length
                elif len(same) == len(parts) == 1 and not NO_PHOTOGRAPHS.search(
                    "/".join(folders[1])
                ):
                    # Neither the row nor another file says that it is not this one.
                    detail = f"{file_name} is {path}"
                    return NameMatch(path, PARTIAL, "image_name_differs", detail)
        if fitting:
            break
    if not fitting and (name := uploaded_name(parts[-1])) != parts[-1]:
        # The user's own file; folders are Label Studio's.
        found = match_name(name, names, split=split, splits=splits)
        if found.rule != "image_missing":
            detail = found.detail if not found.path else f"{file_name} is {found.path}"
            return NameMatch(found.path, PARTIAL, found.rule or "image_name_differs", detail)
    if not fitting:
        there = [path for path in like if not path.lower().endswith(_NO_IMAGES)]
        hint = f"; there is {_listed(there)}" if there else ""
        return NameMatch("", rule="image_missing", detail=file_name + hint)
    longest = max(fitting.values())
    is_whole = longest == len(parts)

    def is_literal(path: str) -> bool:
        return f"/{file_name}".endswith("/" + "/".join(path.split("/")[-longest:]))

    paths = [path for path, length in fitting.items() if length == longest]
    for is_better in (
        is_literal,
        lambda path: _roles([split]) & _roles(_split(path)[:-longest]),
        lambda path: is_whole and _split(path)[:-longest] in ([], names.top),
    ):
        paths = list(filter(is_better, paths)) or paths
    path, *others = paths
    if others:
        return NameMatch(
            "", rule="image_ambiguous", detail=f"{file_name} may be {_listed(paths, 'or')}"
        )
    rank = WHOLE if is_whole else PARTIAL
    if is_literal(path) and not _is_from_elsewhere(file_name):
        return NameMatch(path, rank)
    # They look the same where they are shown.
    same_look = unicodedata.normalize("NFC", path).endswith(unicodedata.normalize("NFC", file_name))
    how = ", in another of Unicode's normal forms" if same_look else ""
    return NameMatch(path, rank, "image_name_differs", f"{file_name} is {path}{how}")


def _listed(paths: Sequence[str], word: str = "and") -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f" {word} ".join(paths[:_SHOWN]) + more
