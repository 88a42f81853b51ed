"""What a YOLO folder says of its classes and splits: `data.yaml`, `obj.data`, or bare lists."""

import itertools
import posixpath
from collections.abc import Iterator
from typing import Any

from components.labels.label_folder import LabelFolder, decoded, name_key
from components.labels.label_sets import SNIFFED_FILES, SPLITS
from components.storage.image_names import match_name, name_parts, split_role
from pix2seq_model.data.formats.yolo import parse_data_yaml, parse_name_list
from pix2seq_model.data.image_check import SUFFIXES
from pix2seq_model.errors import DataError, shown

_KEYS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
# Of LabelImg and Label Studio; of darknet and CVAT; of Roboflow.
_NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels")
_SPLIT_KEYS = {key for keys in _KEYS.values() for key in keys}
_SPLIT_LISTS = {f"{key}.txt": split for split, keys in _KEYS.items() for key in keys}
_NO_LABELS = (*_NAME_LISTS, *_SPLIT_LISTS, "requirements.txt")
_SNIFFED_BYTES = 4096
_LEAST_NUMBERS = 4
# Of a path, on any system that has a limit.
_MOST_CHARACTERS = 4096


def label_files(folder: LabelFolder) -> list[str]:
    """Returns the text files that may be labels."""
    return [
        path
        for path in folder.with_suffix(".txt")
        if posixpath.basename(path) not in _NO_LABELS
        and not posixpath.basename(path).lower().startswith("readme")
    ]


def has_labels(folder: LabelFolder) -> bool:
    """Whether some text files look like YOLO's labels."""
    files = label_files(folder)[:SNIFFED_FILES]
    return any(_is_label(folder.read(path, _SNIFFED_BYTES)) for path in files)


def _is_label(start: bytes) -> bool:
    values = start.replace(b"\0", b"").partition(b"\n")[0].split()[1:]
    if not values:
        return not start.strip()
    try:
        return len([float(value) for value in values]) >= _LEAST_NUMBERS
    except ValueError:
        return False


def data_yaml(folder: LabelFolder) -> tuple[str, dict[str, Any]]:
    """Returns path and content of the `data.yaml`, however called; empty if there is none.

    Raises:
      DataError: it cannot be used, or several give the classes different names.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in folder.with_suffix(".yaml", ".yml")[:SNIFFED_FILES]:
        text = folder.text(path)
        try:
            content = parse_data_yaml(text)
        except ValueError as error:
            raise DataError(f"{folder.root}/{path}: {error}") from None
        if content and isinstance(content["names"], str):
            content["names"] = _names_at(folder, path, content["names"])
        if content:
            found[path] = content
    if not found:
        return "", {}
    first, *others = found
    if other := next((p for p in others if found[p]["names"] != found[first]["names"]), ""):
        raise DataError(
            f"{folder.root}: {first} and {other} give the classes different names: keep the one "
            "that the labels were made with"
        )
    path = next((path for path in found if found[path].keys() & _SPLIT_KEYS), first)
    return path, found[path]


def _names_at(folder: LabelFolder, yaml_path: str, entry: str) -> dict[int, str]:
    there = set(folder.files)
    for place in _places(posixpath.dirname(yaml_path), entry):
        if place in there:
            return _name_list(folder, place)
    raise DataError(
        f"{folder.root}/{yaml_path}: names are {shown(entry)}, and no such file is there: write a "
        "list"
    )


def has_class_list(folder: LabelFolder) -> bool:
    """Whether there is a bare list of class names."""
    return bool(_name_lists(folder))


def _name_lists(folder: LabelFolder) -> list[str]:
    files = folder.with_suffix(*_NAME_LISTS)
    return [path for path in files if posixpath.basename(path).lower() in _NAME_LISTS]


def _name_list(folder: LabelFolder, path: str) -> dict[int, str]:
    text = folder.text(path)
    try:
        return parse_name_list(text)
    except ValueError as error:
        raise DataError(f"{folder.root}/{path}: {error}") from None


def class_list(folder: LabelFolder) -> dict[int, str]:
    """Returns the names of the classes by their numbers, from a bare list.

    LabelImg writes one into each folder, and a later one may have more classes.

    Raises:
      DataError: there is none, or several differ in more than that.
    """
    lists = {path: _name_list(folder, path) for path in _name_lists(folder)}
    if not lists:
        raise DataError(
            f"{folder.root} has no data.yaml with the names of the classes, and no "
            f"{', '.join(_NAME_LISTS[:2])}: write one, a name for each number that the labels use"
        )
    longest = max(lists, key=lambda path: len(lists[path]))
    for path, names in lists.items():
        if not names.items() <= lists[longest].items():
            raise DataError(
                f"{folder.root}: {path} and {longest} give the classes different names: give the "
                "folder of each split by itself (--images=train=FOLDER,val=FOLDER)"
            )
    return lists[longest]


def _places(base: str, entry: str) -> Iterator[str]:
    """Where a path may lead, the longest first.

    It is often one of another machine, or, as of Roboflow, lies one folder too high: then its end
    counts, if no more than folders is lost that say no split.
    """
    if len(base) + len(entry) > _MOST_CHARACTERS:
        return
    base, entry = (path.replace("\\", "/") for path in (base, entry))
    parts = posixpath.normpath(posixpath.join(base, entry)).split("/")
    own = posixpath.normpath(entry).split("/")
    for start in range(len(parts)):
        yield from _unless_lost(parts, start)
    for start in range(1, len(own)):
        for tail in _unless_lost(own, start):
            yield posixpath.join(base, tail)


def _unless_lost(parts: list[str], start: int) -> Iterator[str]:
    tail = "/".join(parts[start:])
    lost = split_role("/".join(parts[:start]), top=start) if start else ""
    if not lost or split_role(tail) == lost:
        yield tail


class NamedSplits:
    """The images of the splits that a `data.yaml`, an `obj.data` or bare lists name.

    Attributes:
      images: by split: paths, and what is listed and not there as it is listed. Empty if nothing
        names splits, or nothing that is there.
      note: for people; empty if there is nothing to say.

    Raises:
      DataError: a place is not there though there are images that may be meant, or a list is not
        clear.
    """

    def __init__(self, labels: LabelFolder, images: LabelFolder, yaml: tuple[str, dict[str, Any]]):
        self._labels, self._images = labels, images
        self._paths = set(images.images)
        self._folders = {name_key(folder): folder for folder in images.folders}
        self.note = ""
        self.images = self._of_entries(*yaml) or self._of_obj_data() or self._of_lists()

    def _of_entries(self, source: str, entries: dict[str, Any]) -> dict[str, list[str]]:
        """The images of the places that a file names."""
        found: dict[str, set[str]] = {}
        lost: dict[str, str] = {}
        base = posixpath.join(posixpath.dirname(source), str(entries.get("path") or ""))
        for split, keys in _KEYS.items():
            value: Any = next((entries[key] for key in keys if entries.get(key)), [])
            for row in value if isinstance(value, list) else [value]:
                images = self._images_at([base, posixpath.dirname(source)], str(row), split)
                if images is None:
                    lost[split] = str(row)
                else:
                    found.setdefault(split, set()).update(images)
        if lost:
            listed = ", ".join(f"{split}: {row:.200}" for split, row in lost.items())
            self.note = f"{source} names {listed}, which is not there"
        if not found:
            self.note += "; other lists, or the folders, say the splits" if lost else ""
            return {}
        taken = set().union(*found.values())
        if lost and ("train" in lost or not self._paths <= taken):
            row = next(iter(lost.values()))
            raise DataError(
                f"{self._labels.root}/{source}: {row:.200} is not in {self._images.root}: correct "
                "the path, or give the folder in which it lies"
            )
        return {split: sorted(images) for split, images in found.items()}

    def _images_at(self, bases: list[str], entry: str, split: str) -> list[str] | None:
        """The images of a folder or list; None if it is not there."""
        for place in itertools.chain.from_iterable(_places(base, entry) for base in bases):
            if place == ".":
                return self._images.images
            if there := self._folders.get(name_key(place)):
                return [path for path in self._images.images if path.startswith(f"{there}/")]
            if place.endswith(".txt") and place in self._label_paths:
                return self._listed(place, split)
        return None

    @property
    def _label_paths(self) -> set[str]:
        return set(self._labels.with_suffix(".txt"))

    def _of_obj_data(self) -> dict[str, list[str]]:
        """Darknet's, also as CVAT writes it: `train = data/train.txt`."""
        for path in self._labels.with_suffix(".data")[:SNIFFED_FILES]:
            rows = (line.partition("=") for line in self._labels.text(path).splitlines())
            entries = {key.strip(): value.strip() for key, _, value in rows if value.strip()}
            if entries.keys() & _SPLIT_KEYS:
                return self._of_entries(path, entries)
        return {}

    def _of_lists(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in self._labels.with_suffix(*_SPLIT_LISTS):
            split = _SPLIT_LISTS.get(posixpath.basename(path))
            if split and split not in found:
                start = decoded(self._labels.read(path, _SNIFFED_BYTES), "replace")
                if start.partition("\n")[0].strip().lower().endswith(SUFFIXES):
                    found[split] = sorted(set(self._listed(path, split)))
        return found

    def _listed(self, place: str, split: str) -> list[str]:
        """The images that a list names; what is not there as it is listed."""
        sources: dict[str, str] = {}
        for line in map(str.strip, self._labels.text(place).splitlines()):
            if not line:
                continue
            path = self._listed_image(line, posixpath.dirname(place), split) or line
            if sources.setdefault(path, line) != line:
                raise DataError(
                    f"{self._labels.root}/{place} lists {sources[path]} and {line}, and both may "
                    f"be {path}: write the path of each, from {self._images.root} on"
                )
        return [*sources]

    def _listed_image(self, line: str, folder: str, split: str) -> str:
        parts = name_parts(line)
        for start in range(max(len(parts) - 1, 1)):
            tail = "/".join(parts[start:])
            for path in (posixpath.join(folder, tail), tail):
                if path in self._paths:
                    return path
        return match_name(line, self._images.image_index, split=split, splits=SPLITS).path
