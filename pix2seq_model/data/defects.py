"""The rules by which images and annotations are dropped or changed, each with its name.

Every row of an annotation file is either written or dropped by exactly one rule; a row that was
written may have been changed by any number of them. The counts are in the manifest, the rows in
the dead-letter files.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pix2seq_model.data.settings import MAX_DEFECT_FRACTION

DROPPED_IMAGES = {
    "image_row_invalid": "the JSON row lacks an id or a file name",
    "image_duplicate_id": "another row has the same id; if they name different files, none is kept",
    "image_duplicate_file": "another image row before it names the same file",
    "image_missing": "no such file in any of the known layouts",
    "image_ambiguous": "several files fit its name, or several rows come to its file",
    "image_unreadable": "the file is damaged in its zip archive, or packed there as cannot be read",
    "image_not_decodable": "the file is not an image, or not one that can be decoded",
    "image_truncated": "the file ends before the image does",
    "image_wrong_size": "the file's width and height are not those of the JSON row",
    "image_too_large": "more pixels than the limit, or no photograph by its bytes",
}
CHANGED_IMAGES = {
    "image_name_differs": "found by another spelling: case, encoding, slashes, a path or URL",
    "image_format_mismatch": "the file's name says another format; kept with its true one",
    "image_reencoded": "of a kind that few readers decode (CMYK, 16 bit, GIF...); stored as RGB",
    "image_few_grey_levels": "scaled from its own range, few grey levels are left: outliers?",
    "image_turned": "turned upright as EXIF says, since the JSON row has the turned size",
    "image_orientation_unclear": "EXIF says turned, the sizes cannot tell if the boxes are; kept "
    "as stored: if its boxes are of the upright image, save it upright, without EXIF",
    "image_size_missing": "the JSON row has no usable width and height; taken from the file",
    "image_in_several_splits": "another split has an image of this base name and size; kept",
}
DROPPED_ANNOTATIONS = {
    "annotation_row_invalid": "the JSON row lacks an image id, a category id or a box",
    "annotation_without_image": "no image row has its image id",
    "annotation_of_dropped_image": "its image was dropped",
    "category_unknown": "its category id is not among the file's categories",
    "box_not_finite": "an edge of the box is not a finite number",
    "box_empty": "the box has no width or no height",
    "box_outside": "the box is outside the image",
    "annotation_duplicate": "the image has the same box with the same category already",
    "annotation_fake": "isfake is set, and the job was told to drop those",
    "annotation_reflected": "isreflected is set, and the job was told to drop those",
}
CHANGED_ANNOTATIONS = {
    "box_clipped": "the box reached over the edge of the image; clipped",
    "area_from_box": "no usable area; the box's own was taken",
}
EXPLANATIONS = DROPPED_IMAGES | CHANGED_IMAGES | DROPPED_ANNOTATIONS | CHANGED_ANNOTATIONS
# Dropped because of something else that is counted, or because the user asked for it.
_NO_FAULT = ("annotation_of_dropped_image", "annotation_fake", "annotation_reflected")


class Defect(NamedTuple):
    """One line of a dead-letter file.

    Attributes:
      rule: a key of `EXPLANATIONS`.
      image: image id as text, or `row 17` for a row without one.
      annotation: annotation id as text; empty if the defect is the image's.
      detail: the value that broke the rule.
      bbox: the box as given, x, y, width, height in pixels; None if the defect is the image's.
    """

    rule: str
    image: str
    annotation: str
    detail: str
    bbox: list[float] | None = None


@dataclasses.dataclass
class RowCounts:
    """Of one kind of row, images or annotations: `rows_in` = `written` + sum of `dropped`."""

    rows_in: int = 0
    written: int = 0
    dropped: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    changed: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def add(self, other: Mapping[str, Any]) -> None:
        """Adds counts as `to_json` gives them."""
        self.rows_in += other["rows_in"]
        self.written += other["written"]
        self.dropped.update(other["dropped"])
        self.changed.update(other["changed"])

    def to_json(self) -> dict[str, Any]:
        return {
            "rows_in": self.rows_in,
            "written": self.written,
            "dropped": dict(sorted(self.dropped.items())),
            "changed": dict(sorted(self.changed.items())),
        }

    def is_balanced(self) -> bool:
        return self.rows_in == self.written + self.dropped.total()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DefectLimits:
    """Past these a conversion fails. Fractions of a split's rows of the kind.

    Attributes:
      max_dropped_images: of all image rows.
      max_dropped_annotations: of all annotation rows. Those of dropped images and those that the
        user asked to drop do not count.
      max_by_rule: rule to fraction, for single rules, kept rows' included.
    """

    max_dropped_images: float = MAX_DEFECT_FRACTION
    max_dropped_annotations: float = MAX_DEFECT_FRACTION
    max_by_rule: Mapping[str, float] = dataclasses.field(default_factory=dict)


def exceeded_limits(counts: Mapping[str, Mapping[str, Any]], limits: DefectLimits) -> Iterable[str]:
    """Yields a sentence for each limit that a split's counts exceed.

    Args:
      counts: `{"images": ..., "annotations": ...}` as in `SplitInfo.counts`.
    """
    for kind, max_dropped in (
        ("images", limits.max_dropped_images),
        ("annotations", limits.max_dropped_annotations),
    ):
        rows, total = counts[kind], counts[kind]["rows_in"]
        dropped = sum(n for rule, n in rows["dropped"].items() if rule not in _NO_FAULT)
        checks = [(f"{dropped} of {total} {kind} dropped", dropped, max_dropped)]
        for rule, limit in limits.max_by_rule.items():
            count = rows["dropped"].get(rule, 0) + rows["changed"].get(rule, 0)
            checks.append((f"{rule}: {count} of {total} {kind}", count, limit))
        for text, count, limit in checks:
            if count > limit * total:
                yield f"{text} ({count / total:.2%}), the limit is {limit:.2%}"


def counts_table(splits: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a table for people: for each split its rows in, written, and each rule's count.

    Args:
      splits: split to `SplitInfo.counts`.
    """
    lines = []
    for split, counts in splits.items():
        for kind in ("images", "annotations"):
            rows = counts[kind]
            lines.append(
                f"{split:<8}{kind:<12}{rows['rows_in']:>11,} in {rows['written']:>11,} written"
            )
            for action, verb in (("dropped", "dropped"), ("changed", "kept")):
                for rule, count in rows[action].items():
                    lines.append(f"{'':<20}{count:>11,} {verb:<8}{rule}: {EXPLANATIONS[rule]}")
    return "\n".join(lines)
