"""YOLO's layouts: `data.yaml` of ultralytics and Roboflow, or a bare list of class names."""

import math
import posixpath
from collections.abc import Iterator
from typing import Any

from components.labels.label_folder import LabelFolder, only_role
from components.labels.label_sets import SNIFFED_FILES, SPLITS, LabelSet
from components.storage.image_names import match_name
from pix2seq_model.data.formats.labelled_image import LabelledImage
from pix2seq_model.data.formats.yolo import parse_data_yaml, parse_yolo
from pix2seq_model.errors import DataError

_KEYS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
# Of LabelImg and Label Studio; of darknet and CVAT.
_NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels")
_NO_LABELS = (*_NAME_LISTS, "train.txt", "val.txt", "valid.txt", "test.txt", "requirements.txt")


class YoloLabels(LabelSet):
    """A text file of fractions for each image; an image without one has no objects."""

    format, title = "yolo", "YOLO"

    def __init__(self, labels: LabelFolder, images: LabelFolder):
        super().__init__(labels, images)
        yaml_path, self._yaml = _data_yaml(labels)
        self.class_names = self._yaml.get("names") or _class_list(labels)
        self._num_keypoints = _product(self._yaml.get("kpt_shape"))
        self._by_split = self._named_splits(yaml_path) or self._splits_by_folder()
        self.splits = tuple(split for split in SPLITS if split in self._by_split)
        self._label_files = set(labels.with_suffix(".txt"))

    @classmethod
    def is_in(cls, folder: LabelFolder) -> bool:
        try:
            if _data_yaml(folder)[1]:
                return True
        except DataError:
            return True  # Said when it is read.
        return bool(_name_list(folder)) and any(
            not path.endswith(_NO_LABELS) for path in folder.with_suffix(".txt")
        )

    def read(self, split: str) -> Iterator[LabelledImage]:
        images = self._by_split[split if self.splits else ""]
        pairs = [(image, self._label_file(image)) for image in images]
        if images and not any(file for _, file in pairs):
            raise DataError(
                f"{self._labels.root}: none of the {len(images)} images has a file of labels; "
                f"looked for {_label_places(images[0])[0]}, as of {images[0]}"
            )
        contents = self._labels.read_all(file for _, file in pairs if file)
        for image, file in pairs:
            if not file:
                self._leave_out("labels: images without a text file are taken as without objects")
                yield LabelledImage(image, in_fractions=True)
                continue
            text = next(contents)[1].decode(errors="replace")
            boxes = parse_yolo(text, self.class_names, num_keypoints=self._num_keypoints)
            yield LabelledImage(image, boxes=boxes, in_fractions=True)
        used = {file for _, file in pairs}
        if not self.splits or len(self.splits) == 1:
            orphans = sorted(
                f for f in self._label_files - used if posixpath.basename(f) not in _NO_LABELS
            )
            for file in orphans:  # Counted as images that are missing.
                yield LabelledImage(posixpath.splitext(file)[0])

    def _label_file(self, image: str) -> str:
        return next((p for p in _label_places(image) if p in self._label_files), "")

    def _named_splits(self, yaml_path: str) -> dict[str, list[str]]:
        """The images of the splits that a `data.yaml` names."""
        found = {}
        for split, keys in _KEYS.items():
            entries = next((self._yaml[key] for key in keys if self._yaml.get(key)), None)
            if entries:
                rows = entries if isinstance(entries, list) else [entries]
                images = [i for row in rows for i in self._images_at(yaml_path, str(row))]
                found[split] = sorted(set(images))
        return found

    def _images_at(self, yaml_path: str, entry: str) -> list[str]:
        """The images of a folder or list that a `data.yaml` names.

        Its paths are often those of another machine, or, as of Roboflow, one folder too high: then
        their end counts.
        """
        base = posixpath.join(posixpath.dirname(yaml_path), str(self._yaml.get("path") or ""))
        parts = posixpath.normpath(posixpath.join(base, entry)).split("/")
        for start in range(len(parts)):
            place = "/".join(parts[start:])
            if place in self._images.folders:
                return [path for path in self._images.images if path.startswith(f"{place}/")]
            if place.endswith(".txt") and place in self._labels.files:
                return self._listed(place)
        raise DataError(
            f"{self._labels.root}/{yaml_path}: {entry} is not in {self._images.root}: correct the "
            "path, or give the folder in which it lies"
        )

    def _listed(self, place: str) -> list[str]:
        lines = [line.strip() for line in self._labels.text(place).splitlines() if line.strip()]
        found = [match_name(line, self._images.image_index).path for line in lines]
        if "" in found:
            raise DataError(
                f"{self._labels.root}/{place} lists {lines[found.index('')]}, which is not in "
                f"{self._images.root}"
            )
        return found

    def _splits_by_folder(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for image in self._images.images:
            found.setdefault(only_role(posixpath.dirname(image)), []).append(image)
        if len(found) > 1 and (others := found.get("")):
            raise DataError(
                f"{self._images.root}: {others[0]} is in no folder of a split, and other images "
                "are: write a data.yaml that names the folders"
            )
        return found


def _label_places(image: str) -> list[str]:
    """Where the labels of an image may be: `labels` instead of its last `images`, or beside it."""
    path = posixpath.splitext(image)[0] + ".txt"
    before, folder, after = f"/{path}".rpartition("/images/")
    replaced = f"{before}/labels/{after}".lstrip("/") if folder else f"labels/{path}"
    return [replaced, path, path.removeprefix("images/")]


def _data_yaml(folder: LabelFolder) -> tuple[str, dict[str, Any]]:
    """Path and content of the nearest `data.yaml`, however called; empty if there is none."""
    for path in folder.with_suffix(".yaml", ".yml")[:SNIFFED_FILES]:
        try:
            if content := parse_data_yaml(folder.text(path)):
                return path, content
        except ValueError as error:
            raise DataError(f"{folder.root}/{path}: {error}") from None
    return "", {}


def _name_list(folder: LabelFolder) -> str:
    lists = folder.with_suffix(*_NAME_LISTS)
    return next((path for path in lists if posixpath.basename(path) in _NAME_LISTS), "")


def _class_list(folder: LabelFolder) -> dict[int, str]:
    path = _name_list(folder)
    if not path:
        raise DataError(
            f"{folder.root} has no data.yaml with the names of the classes, and no "
            f"{', '.join(_NAME_LISTS[:2])}: write one, a name for each number that the labels use"
        )
    names = [line.strip() for line in folder.text(path).splitlines() if line.strip()]
    return dict(enumerate(names))


def _product(shape: Any) -> int:
    is_shape = isinstance(shape, list) and all(isinstance(side, int) for side in shape)
    return math.prod(shape) if is_shape and shape else 0
