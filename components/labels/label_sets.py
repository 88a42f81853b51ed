"""The labels of a data set, image by image, whatever tool wrote them."""

import abc
import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import ClassVar

from components.labels.label_folder import LabelFolder, only_role
from components.storage.image_names import match_name
from pix2seq_model.data.formats.labelled_image import LabelledImage
from pix2seq_model.data.formats.labelme import is_labelme, parse_labelme
from pix2seq_model.data.formats.voc import is_voc, parse_voc
from pix2seq_model.errors import DataError

SPLITS = ("train", "val", "test")
_SNIFFED_BYTES = 4096
# Of many files of a kind so many are looked into to see what they are.
SNIFFED_FILES = 20


class LabelSet(abc.ABC):
    """Labels of one format.

    Attributes:
      format: Its name in flags and configs.
      title: Its name for people.
      splits: Names of the splits that the files tell apart; empty if they tell none.
      class_names: All classes by their number, where the format lists them; else empty.
      repeats_images: Whether the rows of an image may come in several parts.
      left_out: How many images or labels were not taken, by reason, once all were read.
    """

    format: ClassVar[str]
    title: ClassVar[str]
    repeats_images: ClassVar[bool] = False
    splits: tuple[str, ...] = ()
    class_names: Mapping[int, str] = {}

    def __init__(self, labels: LabelFolder, images: LabelFolder):
        self._labels, self._images = labels, images
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

    def _leave_out(self, why: str, number: int = 1) -> None:
        if number:
            self.left_out[why] = self.left_out.get(why, 0) + number


class _FilePerImage(LabelSet):
    """A file of labels for each image; splits are folders."""

    def __init__(self, labels: LabelFolder, images: LabelFolder):
        super().__init__(labels, images)
        self._files = self._find()
        self.splits = tuple(split for split in SPLITS if split in self._files)
        if self.splits and (other := self._files.get("")):
            raise DataError(
                f"{labels.root}: {other[0]} is in no folder of a split, and others are in "
                f"{', '.join(self.splits)}: name the folders of the splits one by one"
            )

    def _find(self) -> dict[str, list[str]]:
        """The files of labels by split, "" for those that say none."""
        found: dict[str, list[str]] = {}
        for path in self._label_files():
            found.setdefault(only_role(posixpath.dirname(path)), []).append(path)
        return found

    @abc.abstractmethod
    def _label_files(self) -> list[str]:
        """The paths of all files of labels, sorted."""

    @abc.abstractmethod
    def _parse(self, content: bytes) -> LabelledImage | None:
        """Reads one file; None if it is another tool's. Raises ValueError."""

    def read(self, split: str) -> Iterator[LabelledImage]:
        used = set()
        for path, content in self._labels.read_all(self._files[split if self.splits else ""]):
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
        others = sum(
            1
            for path in self._images.images
            if path not in used and only_role(posixpath.dirname(path)) in ("", split)
        )
        if len(self.splits) <= 1:
            self._leave_out(f"images without a file of labels ({self.title})", others)

    def _name(self, path: str, named: str, split: str) -> tuple[str, str]:
        """The image of a file of labels, and why it is not certain which it is.

        It is the one that the file names, or the one that is called like the file: if both are
        there and differ, nobody can tell.
        """
        index, stem = self._images.image_index, _stem(path)
        same_stem = self._images.images_called(stem)
        called = nearest(same_stem, posixpath.dirname(path), split)
        found = ""
        if named:
            found = posixpath.join(posixpath.dirname(path), named.replace("\\", "/"))
            found = posixpath.normpath(found)
            if found not in index:
                found = match_name(named, index, split=split, splits=self.splits).path
        if found and called and found not in same_stem:
            return named, _either([found, *called])
        if not found and len(called) == 1:
            return called[0], ""
        return found or named or stem, _either(called) if called and not found else ""


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def nearest(paths: list[str], folder: str, split: str) -> list[str]:
    """Of several images of a name those in the labels' folder, else those of the split."""
    return (
        [path for path in paths if posixpath.dirname(path) == folder]
        or [path for path in paths if split and only_role(posixpath.dirname(path)) == split]
        or paths
    )


def _either(paths: list[str]) -> str:
    return f"its image may be {' or '.join(paths[:3])}: give image and labels one name"


class VocLabels(_FilePerImage):
    """Pascal VOC: XML files, and lists of splits in `ImageSets/Main`."""

    format, title = "voc", "Pascal VOC"

    @classmethod
    def is_in(cls, folder: LabelFolder) -> bool:
        files = folder.with_suffix(".xml")[:SNIFFED_FILES]
        return any(is_voc(folder.read(path, _SNIFFED_BYTES)) for path in files)

    def _label_files(self) -> list[str]:
        return sorted(self._labels.with_suffix(".xml"))

    def _parse(self, content: bytes) -> LabelledImage:
        return parse_voc(content)

    def _find(self) -> dict[str, list[str]]:
        lists = [
            p for p in self._labels.files if "/ImageSets/Main/" in f"/{p}" and p.endswith(".txt")
        ]
        by_name: dict[str, list[str]] = {}
        for path in lists:
            base = f"/{path}".partition("/ImageSets/Main/")[0].lstrip("/")
            ids = [line.split()[0] for line in self._labels.text(path).splitlines() if line.strip()]
            files = [posixpath.join(base, "Annotations", f"{name}.xml") for name in ids]
            by_name.setdefault(posixpath.basename(path)[:-4], []).extend(files)
        if "train" not in by_name and "trainval" in by_name:
            by_name["train"] = by_name["trainval"]
        found = {split: by_name[split] for split in SPLITS if by_name.get(split)}
        if not found:
            return super()._find()
        there = set(self._labels.files)
        for split, files in found.items():
            if missing := [path for path in files if path not in there]:
                raise DataError(
                    f"{self._labels.root}: ImageSets/Main/{split}.txt lists {missing[0]}, which is "
                    f"not there ({len(missing)} of {len(files)} are missing): complete the folder, "
                    "or correct the list"
                )
        listed = {path for files in found.values() for path in files}
        self._leave_out(
            "XML files in none of the lists of ImageSets/Main",
            sum(1 for path in self._label_files() if path not in listed),
        )
        return found


class LabelMeLabels(_FilePerImage):
    """LabelMe: JSON files, mostly beside the images."""

    format, title = "labelme", "LabelMe"

    @classmethod
    def is_in(cls, folder: LabelFolder) -> bool:
        files = folder.with_suffix(".json")[:SNIFFED_FILES]
        return any(b'"shapes"' in folder.read(path, _SNIFFED_BYTES) for path in files)

    def _label_files(self) -> list[str]:
        return sorted(self._labels.with_suffix(".json"))

    def _parse(self, content: bytes) -> LabelledImage | None:
        parsed = json.loads(content.removeprefix(b"\xef\xbb\xbf"))
        return parse_labelme(parsed) if is_labelme(parsed) else None
