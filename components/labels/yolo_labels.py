"""YOLO: a text file for each image, in the layouts of ultralytics, Roboflow, darknet and CVAT."""

import math
import posixpath
import re
from collections.abc import Iterator
from typing import Any

from components.labels.label_folder import LabelFolder, by_stem, decoded, name_key, stem_of
from components.labels.label_sets import SPLITS, LabelSet
from components.labels.yolo_layout import (
    NamedSplits,
    class_list,
    data_yaml,
    has_class_list,
    has_labels,
    label_files,
)
from components.storage.image_names import uploaded_name
from pix2seq_model.data.formats.labelled_image import LabelledImage
from pix2seq_model.data.formats.yolo import parse_yolo
from pix2seq_model.errors import DataError

_IMAGES = re.compile(r"(.*/|^)(?:jpeg)?images/", re.IGNORECASE)


class YoloLabels(LabelSet):
    """A text file of fractions for each image; an image without one has no objects."""

    format, title = "yolo", "YOLO"

    def __init__(self, labels: LabelFolder, images: LabelFolder):
        super().__init__(labels, images)
        yaml_path, content = data_yaml(labels)
        self.class_names = content.get("names") or class_list(labels)
        self._num_keypoints = _product(content.get("kpt_shape"))
        named = NamedSplits(labels, images, (yaml_path, content))
        if named.note:
            self.notes.append(named.note)
        self._by_split = named.images or self._splits_by_folder()
        self.splits = tuple(split for split in SPLITS if split in self._by_split)
        self._files = _LabelFiles(labels, apart=labels.root != images.root)

    @classmethod
    def is_in(cls, folder: LabelFolder) -> bool:
        if not has_labels(folder):
            return False
        try:
            return bool(data_yaml(folder)[1]) or has_class_list(folder)
        except DataError:
            return True  # Said when it is read.

    def read(self, split: str) -> Iterator[LabelledImage]:
        key = self._key(split)
        images = self._by_split.get(key, [])
        found = {image: self._files.of(image) for image in images}
        if images and not any(found.values()):
            raise DataError(
                f"{self._labels.root}: none of the {len(images)} images has a file of labels; "
                f"looked for {label_places(images[0])[0]}, as of {images[0]}"
            )
        contents = self._labels.read_all(files[0] for files in found.values() if len(files) == 1)
        for image, files in found.items():
            if len(files) == 1:
                # What is no text is no number either, and refused line by line.
                text = decoded(next(contents)[1], "replace")
                boxes = parse_yolo(text, self.class_names, num_keypoints=self._num_keypoints)
                yield LabelledImage(image, boxes=boxes, in_fractions=True)
            elif files:
                yield LabelledImage(image, problem=f"its labels may be {' or '.join(files[:3])}")
            else:
                self._leave_out("labels: images without a text file are taken as without objects")
                yield LabelledImage(image, in_fractions=True)
        if key == (self.splits or ("",))[0]:
            yield from self._without_images()
            others = set(self._images.images).difference(*self._by_split.values())
            self._leave_out("images that are in none of the splits", len(others))

    def _without_images(self) -> Iterator[LabelledImage]:
        """Text files without an image, counted as images that are missing, with the first split."""
        images = {*self._images.images}.union(*self._by_split.values())
        used = {file for image in images for file in self._files.of(image)}
        for file in sorted(set(label_files(self._labels)) - used):
            yield LabelledImage(posixpath.splitext(file)[0])

    def _splits_by_folder(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for image in self._images.images:
            found.setdefault(self._images.split_of(posixpath.dirname(image)), []).append(image)
        if len(found) > 1 and (others := found.get("")):
            raise DataError(
                f"{self._images.root}: {others[0]} is in no folder of a split, and other images "
                "are: write a data.yaml that names the folders"
            )
        return found


class _LabelFiles:
    """The text files of a folder, by the image that they belong to.

    Args:
      labels: the folder.
      apart: it is another one than that of the images.
    """

    def __init__(self, labels: LabelFolder, *, apart: bool):
        paths = labels.with_suffix(".txt")
        self._paths, self._apart = set(paths), apart
        self._by_key: dict[str, list[str]] = {}
        for path in paths:
            self._by_key.setdefault(name_key(path), []).append(path)
        self._by_stem = by_stem(paths) if apart else {}
        # Label Studio puts digits in front of the names of uploaded files.
        self._uploaded: dict[str, list[str]] = {}
        for path in paths:
            folder, name = posixpath.split(path)
            if (own := uploaded_name(name)) != name:
                self._uploaded.setdefault(name_key(posixpath.join(folder, own)), []).append(path)

    def of(self, image: str) -> list[str]:
        """Returns the file of an image; none, or several if nobody can tell."""
        places = label_places(image)
        if path := next((place for place in places if place in self._paths), ""):
            return [path]
        for by_place in (self._by_key, self._uploaded):
            for place in map(name_key, places):
                if place in by_place:
                    return by_place[place]
        if not self._apart:
            return []
        end = "/" + name_key(posixpath.splitext(image)[0] + ".txt")
        called = self._by_stem.get(name_key(stem_of(image)), [])
        return [path for path in called if f"/{name_key(path)}".endswith(end)]


def label_places(image: str) -> list[str]:
    """Returns where the labels of an image may be.

    In `labels` instead of its last `images` (in darknet also `JPEGImages`), or next to it.
    """
    path = posixpath.splitext(image)[0] + ".txt"
    if match := _IMAGES.match(path):
        below = path[match.end() :]
        return [f"{match[1]}labels/{below}", path, f"{match[1]}{below}"]
    return [f"labels/{path}", path]


def _product(shape: Any) -> int:
    is_shape = isinstance(shape, list) and all(isinstance(side, int) for side in shape)
    return math.prod(shape) if is_shape and shape else 0
