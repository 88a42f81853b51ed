"""The labels of a data set, image by image, whatever tool wrote them."""

import abc
import functools
import posixpath
from collections.abc import Iterator, Mapping
from typing import ClassVar

from components.labels.label_folder import (
    LabelFolder,
    by_stem,
    decoded,
    is_of_masks,
    name_key,
    nearness,
    stem_of,
)
from components.storage.image_names import match_name
from pix2seq_model.data.formats.labelled_image import LabelledImage
from pix2seq_model.data.formats.labelme import is_labelme, parse_labelme
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import parse_json

SPLITS = ("train", "val", "test")
_SNIFFED_BYTES = 4096
# Of many files of a kind so many are looked into to see what they are.
SNIFFED_FILES = 20


class LabelSet(abc.ABC):
    """Labels of one format.

    Attributes:
      format: its name in flags and configs.
      title: its name for people.
      splits: names of the splits that the files tell apart; empty if they tell none.
      class_names: all classes by their number, where the format lists them; else empty.
      repeats_images: whether the rows of an image may come in several parts.
      notes: what a person should know of the folder, a line each.
      left_out: how many images or labels were not taken, by reason, once all were read.
    """

    format: ClassVar[str]
    title: ClassVar[str]
    repeats_images: ClassVar[bool] = False
    splits: tuple[str, ...] = ()
    class_names: Mapping[int, str] = {}

    def __init__(self, labels: LabelFolder, images: LabelFolder):
        self._labels, self._images = labels, images
        self.notes: list[str] = []
        self.left_out: dict[str, int] = {}

    @classmethod
    @abc.abstractmethod
    def is_in(cls, folder: LabelFolder) -> bool:
        """Whether a folder has labels of this format."""

    @abc.abstractmethod
    def read(self, split: str) -> Iterator[LabelledImage]:
        """Yields the images of a split, or all if there are no splits.

        `file_name` is the path of the file where it is certain, else what the labels say.
        """

    def _key(self, split: str) -> str:
        """What a split is called here: a folder with one split may be given for any."""
        if split in self.splits:
            return split
        if len(self.splits) > 1:
            raise DataError(f"{self._labels.root} has {', '.join(self.splits)}; no {split}")
        return self.splits[0] if self.splits else ""

    def _leave_out(self, why: str, number: int = 1) -> None:
        if number:
            self.left_out[why] = self.left_out.get(why, 0) + number


class FilePerImage(LabelSet):
    """A file of labels for each image; splits are folders."""

    def __init__(self, labels: LabelFolder, images: LabelFolder):
        super().__init__(labels, images)
        self._files = self._find()
        self.splits = tuple(split for split in SPLITS if split in self._files)
        others = self._files.get("", []) if self.splits else []
        if other := next(filter(functools.partial(self._is_one, labels), others), ""):
            raise DataError(
                f"{labels.root}: {other} is in no folder of a split, and others are in "
                f"{', '.join(self.splits)}: name the folders of the splits one by one"
            )

    def _find(self) -> dict[str, list[str]]:
        """The files of labels by split, "" for those that say none."""
        found: dict[str, list[str]] = {}
        for path in self._label_files():
            found.setdefault(self._labels.split_of(posixpath.dirname(path)), []).append(path)
        return found

    @classmethod
    def _is_one(cls, folder: LabelFolder, path: str) -> bool:
        """Whether a file looks like labels of this format by its beginning."""
        return cls._begins_so(decoded(folder.read(path, _SNIFFED_BYTES), "replace"))

    @staticmethod
    @abc.abstractmethod
    def _begins_so(start: str) -> bool:
        """Whether a file that begins so may be labels of this format."""

    @abc.abstractmethod
    def _label_files(self) -> list[str]:
        """The paths of all files of labels, sorted."""

    @abc.abstractmethod
    def _parse(self, content: bytes) -> LabelledImage | None:
        """Reads one file; None if it is another tool's. Raises ValueError."""

    def _unlabelled(self, split: str) -> list[str]:
        """The images that a list names and that have no file of labels, as they have no objects."""
        del split
        return []

    @functools.cached_property
    def _labels_by_stem(self) -> dict[str, list[str]]:
        return by_stem(self._label_files())

    def read(self, split: str) -> Iterator[LabelledImage]:
        split, used = self._key(split), set()
        for path, content in self._labels.read_all(self._files[split]):
            problem = ""
            try:
                image = self._parse(content)
            except ValueError as error:
                image, problem = LabelledImage(""), str(error)
            if image is None:
                self._leave_out(f"{posixpath.splitext(path)[1]} files that are not {self.title}'s")
                continue
            name, unclear = self._name(path, image.file_name, split)
            used.add(name)
            problem = problem or unclear
            yield image._replace(file_name=name, problem=f"{path}: {problem}" if problem else "")
        for name in self._unlabelled(split):
            used.add(name)
            self._leave_out("listed images without a file of labels, taken as without objects")
            yield LabelledImage(name)
        others = sum(
            1
            for path in self._images.images
            if path not in used
            and self._images.split_of(posixpath.dirname(path)) in ("", split)
            and not is_of_masks(posixpath.dirname(path))
        )
        if len(self.splits) <= 1:
            self._leave_out(f"images without a file of labels ({self.title})", others)

    def _name(self, path: str, named: str, split: str) -> tuple[str, str]:
        """The image of a file of labels, and why it is not certain which it is.

        It is the one that the file names, or the one that is called like the file: if both are
        there and differ, nobody can tell.
        """
        same_stem = self._images.images_called(stem_of(path))
        called = self._images.nearest(same_stem, path, split=split)
        found = beside = ""
        if named:
            named = named.replace("\\", "/")
            suffix = name_key(posixpath.splitext(named)[1])
            if len(called) > 1 and name_key(stem_of(named)) == name_key(stem_of(path)):
                called = [p for p in called if name_key(p).endswith(suffix)] or called
            beside = posixpath.normpath(posixpath.join(posixpath.dirname(path), named))
            if beside in self._image_paths:
                found = beside
            elif name_key(posixpath.basename(named)) not in map(
                name_key, map(posixpath.basename, called)
            ):
                index = self._images.image_index
                found = match_name(named, index, split=split, splits=self.splits).path
        if found and called and found not in same_stem:
            return named, _either([found, *called])
        if found and found == beside:
            return found, ""
        found = found or (called[0] if len(called) == 1 else "")
        if found and (other := self._as_near(found, path)):
            return found, f"its image may be {found}, to which {other} is as near: {_ONE_NAME}"
        return found or named or stem_of(path), _either(called) if called and not found else ""

    @functools.cached_property
    def _image_paths(self) -> set[str]:
        return set(self._images.images)

    def _as_near(self, image: str, labels: str) -> str:
        """Another file of labels that an image called like both belongs to as much or more."""
        others = self._labels_by_stem.get(name_key(stem_of(image)), [])
        if len(others) < 2 or posixpath.dirname(image) == posixpath.dirname(labels):
            return ""
        folder = posixpath.dirname(image)
        near = nearness(folder, posixpath.dirname(labels))
        return next(
            (
                path
                for path in others
                if path != labels and nearness(folder, posixpath.dirname(path)) >= near
            ),
            "",
        )


_ONE_NAME = "give image and labels one name"


def _either(paths: list[str]) -> str:
    return f"its image may be {' or '.join(paths[:3])}: {_ONE_NAME}"


class LabelMeLabels(FilePerImage):
    """LabelMe: JSON files, mostly next to the images."""

    format, title = "labelme", "LabelMe"

    @classmethod
    def is_in(cls, folder: LabelFolder) -> bool:
        files = folder.with_suffix(".json")[:SNIFFED_FILES]
        return any(cls._is_one(folder, path) for path in files)

    @staticmethod
    def _begins_so(start: str) -> bool:
        # Old versions write the image itself before the shapes.
        return '"shapes"' in start or '"imageData"' in start

    def _label_files(self) -> list[str]:
        return sorted(self._labels.with_suffix(".json"))

    def _parse(self, content: bytes) -> LabelledImage | None:
        parsed = parse_json(content, source="it", fix="save it again", finite=False)
        return parse_labelme(parsed) if is_labelme(parsed) else None
