"""What a whole data set's counts say about how its annotation file was made.

Single rows are judged by the rules in `defects`. Some mistakes of an exporter make every row wrong
in the same way and none of them impossible: they are seen here, from counts over all rows.
"""

import collections
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pix2seq_model.data.annotations import AnnotationRow

BOXES, FRACTIONS, CORNERS, CONTRADICTIONS = "boxes", "fractions", "corners", "contradictions"
# Of a data set's boxes; in sound ones it is next to none.
_MOST = 0.5
_NEARLY_ALL = 0.95
# Sides of the image; sloppy labels reach over an edge too, but not as far.
_FAR_OVER = 1.05
# Of its image rows.
_MANY_REPEATS = 0.25
# A box may reach over an edge by rounding.
_PIXEL = 1.0
_FRACTION_SLACK = 0.01
_AREA_SLACK = 0.01


def box_signs(rows: Iterable[AnnotationRow], *, height: int, width: int) -> collections.Counter:
    """Counts what the boxes of an image, as given, look like.

    Args:
      rows: of the image; `bbox` may be anything.
      height, width: of the image, pixels.

    Returns:
      How many `BOXES` there are; `FRACTIONS`, which lie between 0 and 1; `CORNERS`, which are
      inside the image if they are x1, y1, x2, y2; `CONTRADICTIONS`, the corners that as x, y,
      width, height reach over the edge or contradict the row's area.
    """
    boxes = fractions = corners = contradictions = 0
    for row in rows:
        if len(row.bbox) != 4 or not all(map(math.isfinite, row.bbox)):
            continue
        boxes += 1
        x, y, x2, y2 = row.bbox
        if min(row.bbox) >= -_FRACTION_SLACK and max(row.bbox) <= 1 + _FRACTION_SLACK:
            fractions += 1
        elif 0 <= x < x2 <= width + _PIXEL and 0 <= y < y2 <= height + _PIXEL:
            corners += 1
            over_edge = x + x2 > _FAR_OVER * width or y + y2 > _FAR_OVER * height
            contradictions += over_edge or _area_is_of_corners(row)
    return collections.Counter(
        {
            BOXES: boxes,
            FRACTIONS: fractions,
            CORNERS: corners,
            CONTRADICTIONS: contradictions,
        }
    )


def _area_is_of_corners(row: AnnotationRow) -> bool:
    x, y, x2, y2 = row.bbox
    if row.area is None or not math.isfinite(row.area) or math.isclose(row.area, x2 * y2):
        return False
    return math.isclose(row.area, (x2 - x) * (y2 - y), rel_tol=_AREA_SLACK)


def wrong_boxes(signs: Mapping[str, int]) -> Iterator[str]:
    """Yields a sentence if most boxes are not x, y, width, height in pixels."""
    boxes, fractions = signs.get(BOXES, 0), signs.get(FRACTIONS, 0)
    if fractions > _MOST * boxes:
        yield (
            f"{fractions:,} of {boxes:,} boxes lie between 0 and 1: they look like fractions of "
            "the image's sides, and a bbox is in pixels; multiply x and width by the image's "
            "width, y and height by its height"
        )
    corners, wrong = signs.get(CORNERS, 0), signs.get(CONTRADICTIONS, 0)
    if corners > _NEARLY_ALL * boxes and wrong > _MOST * boxes:
        yield (
            f"{wrong:,} of {boxes:,} boxes reach over the image's edge or contradict their area as "
            f"[x, y, width, height], and {corners:,} lie inside as [x1, y1, x2, y2]: they look "
            "like corners; write x1, y1, x2 - x1, y2 - y1"
        )


def likely_causes(
    counts: Mapping[str, Mapping[str, Any]], *, objects: int, crowds: int, missing_list: str = ""
) -> Iterator[str]:
    """Yields a sentence for each mistake of a whole split that its counts show.

    Args:
      counts: as in `SplitInfo.counts`.
      objects, crowds: boxes in its records.
      missing_list: why the annotation file gave no annotations.
    """
    images, annotations = counts["images"], counts["annotations"]
    repeats = sum(
        images["dropped"].get(rule, 0) for rule in ("image_duplicate_id", "image_duplicate_file")
    )
    if repeats > _MANY_REPEATS * images["rows_in"]:
        yield (
            f"{repeats:,} of {images['rows_in']:,} rows of 'images' repeat an image: it looks like "
            "one row for each annotation; list each image once, and give all of its annotations "
            "its id"
        )
    if not annotations["rows_in"]:
        yield missing_list or "the annotation file has no annotations"
    if crowds and not objects:
        yield (
            f"all of the {crowds:,} boxes are crowds (iscrowd 1), which are no objects to learn or "
            "to find; set iscrowd to 0 (some exporters of masks set it to 1 everywhere)"
        )


def same_names(categories: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields a sentence for each name that several categories of a manifest have."""
    ids = collections.defaultdict(list)
    for row in categories:
        ids[row["name"].strip().casefold()].append(row.get("source_id", row["id"]))
    for name, of_name in ids.items():
        if len(of_name) > 1:
            yield (
                f"categories {', '.join(map(str, of_name))} are all called {name!r} and are "
                "learned as different classes; give them one id, or names that differ"
            )
