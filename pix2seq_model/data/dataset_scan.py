"""A pass over the annotation files of a data set that keeps counts alone.

They are what the settings of a training follow from: how many images, how many objects in one, how
large these are, which classes there are. Rows count as in a conversion, but no image is opened, and
a box that is there twice counts twice: seeing that would take every row.
"""

import array
import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pix2seq_model.data.annotation_file import check_file, read_rows
from pix2seq_model.data.annotations import (
    IS_FAKE,
    IS_REFLECTED,
    parse_annotation_row,
    parse_image_row,
)
from pix2seq_model.data.categories import merge_categories
from pix2seq_model.data.label_rules import drop_rule
from pix2seq_model.progress import LiveLine

# Box sizes are counted in thousandths of the image's longer side.
SIZE_UNITS = 1000
# Instead of a width and height that the file does not say: no box lies outside.
_UNKNOWN_SIDE = 1 << 20
# No network's image has a smaller side.
_LEAST_RATIO = 16
_ROWS_BETWEEN_LINES = 50_000
_SECONDS_BETWEEN_LINES = 5.0


@dataclasses.dataclass(frozen=True)
class SplitScan:
    """The counts of a split.

    Attributes:
      images: that a conversion would keep, as far as the file tells.
      objects: boxes to learn or to find; crowds are none.
      crowds: boxes of crowds.
      set_aside: rows by the rule of `defects` that drops them.
      objects_per_image: images by their number of objects.
      classes: objects by the class's stored id.
      sizes: objects by the root of their area, in thousandths of the longer side of the image;
        those of images whose row says no size are not among them.
      sides: images by their longer side in pixels, where the row says it.
      ratios: images by how often the shorter side goes into the longer one, from 16 times on.
    """

    images: int
    objects: int
    crowds: int
    set_aside: Mapping[str, int]
    objects_per_image: Counter[int]
    classes: Counter[int]
    sizes: Counter[int]
    sides: Counter[int]
    ratios: Counter[int] = dataclasses.field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Plain values; keys as text, in their order."""
        return {
            name: {str(key): value[key] for key in sorted(value)}
            if isinstance(value, Mapping)
            else value
            for name, value in vars(self).items()
        }


@dataclasses.dataclass(frozen=True)
class DatasetScan:
    """The counts of a data set.

    Attributes:
      categories: of all splits as a conversion stores them: `{"id", "name"}` and, where it
        differs, `"source_id"`.
      splits: by name.
    """

    categories: tuple[dict[str, Any], ...]
    splits: Mapping[str, SplitScan]

    @property
    def max_category_id(self) -> int:
        return max(row["id"] for row in self.categories)

    def to_json(self) -> dict[str, Any]:
        splits = {name: split.to_json() for name, split in self.splits.items()}
        return {"categories": list(self.categories), "splits": splits}


def scan_dataset(
    files: Mapping[str, str],
    *,
    max_category_id: int,
    drop_fake: bool = False,
    drop_reflected: bool = False,
    output: LiveLine | None = None,
) -> DatasetScan:
    """Counts what the annotation files of a data set hold; says how far it is where that is long.

    Args:
      files: annotation file by split, local or gs://.
      max_category_id: where an id is higher, categories count as numbered from 1.
      drop_fake, drop_reflected: as in the conversion.
      output: where to say it; standard error if None.

    Raises:
      DataError: a file is missing or is no annotation file, or the files contradict each other.
    """
    line = output or LiveLine(interval_s=_SECONDS_BETWEEN_LINES)
    for path in files.values():
        check_file(path)
    try:
        listed = {
            split: (path, list(read_rows(path, "categories"))) for split, path in files.items()
        }
        table = merge_categories(listed, max_id=max_category_id)
        scan_one = functools.partial(
            _scan_split, unwanted=IS_FAKE * drop_fake | IS_REFLECTED * drop_reflected, line=line
        )
        splits = {
            split: scan_one(path, categories=table.by_source[split])
            for split, path in files.items()
        }
    finally:
        line.close()
    return DatasetScan(table.categories, splits)


def quantile(counts: Mapping[int, int], share: float) -> int:
    """The least key that, with all smaller ones, has at least this share of the counts.

    Raises:
      ValueError: nothing was counted.
    """
    wanted, seen = share * sum(counts.values()), 0
    for key in sorted(counts):
        seen += counts[key]
        if seen and seen >= wanted:
            return key
    raise ValueError("nothing was counted")


class _Images:
    """The images of a file: by id how large they are and how many objects were seen.

    `lost` are the ids of which no image is kept.
    """

    def __init__(self) -> None:
        self.place: dict[str, int] = {}
        self.lost: set[str] = set()
        self.set_aside = Counter[str]()
        self.heights, self.widths, self.objects = (array.array("l") for _ in range(3))
        self._names = array.array("q")

    def add(self, raw: Any, ordinal: int) -> None:
        """Adds a row of `images`; an image listed again is one, an id of two files is nobody's."""
        row = parse_image_row(raw, ordinal)
        name, place = hash(row.file_name), self.place.get(row.image_id)
        if row.problem:
            self.set_aside["image_row_invalid"] += 1
            self.lost.add(row.image_id)
        elif place is None:
            self.place[row.image_id] = len(self.place)
            self.heights.append(row.height)
            self.widths.append(row.width)
            self.objects.append(0)
            self._names.append(name)
        else:
            self.set_aside["image_duplicate_id"] += 1
            if self._names[place] != name and row.image_id not in self.lost:
                self.lost.add(row.image_id)
                self.set_aside["image_duplicate_id"] += 1  # The first of them.

    def kept(self) -> list[int]:
        return [place for key, place in self.place.items() if key not in self.lost]


def _scan_split(
    path: str, *, categories: Mapping[str, tuple[int, str]], unwanted: int, line: LiveLine
) -> SplitScan:
    images = _Images()
    for ordinal, raw in enumerate(_watched(path, "images", line)):
        images.add(raw, ordinal)
    set_aside, classes, sizes, crowds = images.set_aside, Counter[int](), Counter[int](), 0
    for ordinal, raw in enumerate(_watched(path, "annotations", line)):
        row = parse_annotation_row(raw, ordinal)
        place = images.place.get(row.image_id)
        if row.problem:
            set_aside["annotation_row_invalid"] += 1
        elif row.image_id in images.lost:
            set_aside["annotation_of_dropped_image"] += 1
        elif place is None:
            set_aside["annotation_without_image"] += 1
        else:
            height, width = images.heights[place], images.widths[place]
            sides = {"height": height or _UNKNOWN_SIDE, "width": width or _UNKNOWN_SIDE}
            if dropped := drop_rule(row, categories, **sides, unwanted=unwanted):
                set_aside[dropped[0]] += 1
            elif row.is_crowd:
                crowds += 1
            else:
                images.objects[place] += 1
                classes[categories[row.category][0]] += 1
                if height:
                    sizes[_size(row.bbox, height=height, width=width)] += 1
    kept = images.kept()
    return SplitScan(
        images=len(kept),
        objects=classes.total(),
        crowds=crowds,
        set_aside=set_aside,
        objects_per_image=Counter(images.objects[place] for place in kept),
        classes=classes,
        sizes=sizes,
        sides=Counter(
            max(images.heights[place], images.widths[place])
            for place in kept
            if images.heights[place]
        ),
        ratios=Counter(
            ratio
            for place in kept
            if images.heights[place]
            and (ratio := _ratio(images.heights[place], images.widths[place])) >= _LEAST_RATIO
        ),
    )


def _ratio(height: int, width: int) -> int:
    return max(height, width) // min(height, width)


def _size(bbox: list[float], *, height: int, width: int) -> int:
    """Of a box x, y, width, height in pixels, as far as it is inside the image."""
    x, y, box_width, box_height = bbox
    inside = (min(x + box_width, width) - max(x, 0)) * (min(y + box_height, height) - max(y, 0))
    return round(SIZE_UNITS * math.sqrt(inside) / max(height, width))


def _watched(path: str, array_name: str, line: LiveLine) -> Iterator[Any]:
    """The rows of an array; says from time to time how many were read."""
    for number, row in enumerate(read_rows(path, array_name), start=1):
        if number % _ROWS_BETWEEN_LINES == 0 and line.is_due():
            line.show(f"{path}: {number:,} {array_name} read")
        yield row
