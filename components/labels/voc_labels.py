"""Pascal VOC's folders: XML files, and lists of splits as VOC itself and CVAT write them."""

import posixpath
import re

from components.labels.label_folder import LabelFolder, stem_of
from components.labels.label_sets import SNIFFED_FILES, SPLITS, FilePerImage
from components.storage.image_names import split_role
from pix2seq_model.data.formats.labelled_image import LabelledImage
from pix2seq_model.data.formats.voc import is_voc, parse_voc
from pix2seq_model.errors import DataError


class VocLabels(FilePerImage):
    """Pascal VOC: XML files, and lists of splits in `ImageSets/Main`."""

    format, title = "voc", "Pascal VOC"

    def __init__(self, labels: LabelFolder, images: LabelFolder):
        self._without: dict[str, list[str]] = {}
        super().__init__(labels, images)

    @classmethod
    def is_in(cls, folder: LabelFolder) -> bool:
        files = folder.with_suffix(".xml")[:SNIFFED_FILES]
        return any(cls._is_one(folder, path) for path in files)

    @staticmethod
    def _begins_so(start: str) -> bool:
        return is_voc(start)

    def _label_files(self) -> list[str]:
        return sorted(self._labels.with_suffix(".xml"))

    def _parse(self, content: bytes) -> LabelledImage | None:
        return parse_voc(content)

    def _find(self) -> dict[str, list[str]]:
        by_name: dict[str, dict[str, str]] = {}
        for path in self._labels.files:
            before, folder, name = f"/{path}".partition("/ImageSets/Main/")
            if folder and name.endswith(".txt"):
                of_list = by_name.setdefault(_list_name(name), {})
                for line in self._labels.text(path).splitlines():
                    if item := _listed(line):
                        xml = posixpath.join(before, "Annotations", f"{item}.xml").lstrip("/")
                        of_list[xml] = path
        if "train" not in by_name and "trainval" in by_name:
            by_name["train"] = by_name["trainval"]
        found = {split: by_name[split] for split in SPLITS if by_name.get(split)}
        if not found and by_name.get("default"):
            found = {"": by_name["default"]}
        if not found:
            return super()._find()
        there = set(self._labels.files)
        for split, files in found.items():
            self._without[split] = [path for path in files if path not in there]
            lost = [path for path in self._without[split] if not self._image_without(path, split)]
            if lost or len(self._without[split]) == len(files):
                missing = lost or self._without[split]
                raise DataError(
                    f"{self._labels.root}: {files[missing[0]]} lists {missing[0]}, which is "
                    f"not there ({len(missing)} of {len(files)} are missing): complete the folder, "
                    "or correct the list"
                )
        listed = {path for files in found.values() for path in files}
        self._leave_out(
            "XML files in none of the lists of ImageSets/Main",
            sum(1 for path in self._label_files() if path not in listed),
        )
        return {split: [p for p in files if p in there] for split, files in found.items()}

    def _image_without(self, xml: str, split: str) -> str:
        """The image that a list names and that has no XML file; empty if it is not there."""
        called = self._images.nearest(self._images.images_called(stem_of(xml)), xml, split=split)
        return called[0] if len(called) == 1 else ""

    def _unlabelled(self, split: str) -> list[str]:
        return [self._image_without(xml, split) for xml in self._without.get(split, [])]


def _list_name(name: str) -> str:
    """The split of a list in `ImageSets/Main`, "trainval", "default", or what else it is of."""
    stem = stem_of(name).lower()
    return stem if set(stem) & set("_- ") else split_role(stem) or stem


def _listed(line: str) -> str:
    """What a line of such a list names; in the lists of a class, a number follows."""
    line = line.strip()
    if len(line) > 1 and line[0] == line[-1] == '"':
        return line[1:-1]
    return re.sub(r"\s+-?[01]$", "", line)
