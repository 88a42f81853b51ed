"""How many shards a split gets, once its images' bytes are counted."""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from components.conversion.options import AUTOMATIC, ConversionOptions
from components.storage.files import PLAN, file_metadata, write_file
from pix2seq_model.data.categories import CategoryTable, merge_categories
from pix2seq_model.errors import DataError

# A split of which more than this fraction is missing is not converted at all.
_FEWEST_FOUND = 0.5
_REASONS_SHOWN = 3
# Whose annotations a worker holds unpacked: some ten thousand boxes.
_IMAGES_PER_SECTION, _ANNOTATION_BYTES_PER_SECTION = 1000, 2_000_000


def refuse_unreadable(reports: Sequence[Mapping[str, Any]]) -> None:
    """Raises DataError if an annotation file could not be read; says it of each."""
    if problems := sorted({report["problem"] for report in reports if report["problem"]}):
        raise DataError("\n".join(problems))


def find_categories(
    reports: Sequence[Mapping[str, Any]], options: ConversionOptions
) -> CategoryTable:
    """Returns the categories from the annotation files' reports.

    Raises:
      DataError: a file could not be read, has no images, or the categories cannot be used.
    """
    refuse_unreadable(reports)
    return merge_categories(
        {
            report["split"]: (report["path"], report["categories"])
            for report in reports
            if report["array"] == "categories"
        },
        max_id=options.max_category_id,
    )


def place_of(report: Mapping[str, Any]) -> tuple[str, int, int]:
    """Returns split, shard and shards of a shard's report."""
    return report["split"], report["shard"], report["num_shards"]


def make_plan(
    reports: Sequence[Mapping[str, Any]],
    sizes: Sequence[Sequence[Any]],
    options: ConversionOptions,
) -> dict[str, Any]:
    """Decides what is written.

    Args:
      reports: of the annotation files' arrays, without those of annotations.
      sizes: [split, images, images found, their bytes, why some were not], any number for each
        split.
      options: of the conversion.

    Returns:
      `problem`: why nothing is written, or empty; `splits`: split to `num_shards`,
      `num_sections` (equal parts of a shard, of which a worker holds one unpacked) and `num_found`.
    """
    found: dict[str, Any] = {split: collections.Counter() for split in options.splits}
    reasons: dict[str, list[str]] = {split: [] for split in options.splits}
    for split, num_images, num_found, num_bytes, some_reasons in sizes:
        found[split].update(images=num_images, found=num_found, bytes=num_bytes)
        reasons[split] += some_reasons
    problem = ""
    try:
        find_categories(reports, options)
        for split, counted in found.items():
            _check_found(split, counted, reasons[split], options)
    except DataError as error:
        problem = str(error)
    planned = [
        (split, counted, _num_shards(split, counted, options)) for split, counted in found.items()
    ]
    return {
        "problem": problem,
        "splits": {
            split: {
                "num_shards": num_shards,
                "num_sections": _num_sections(
                    counted["images"] / num_shards,
                    annotation_bytes=_size(options.splits[split].annotations) / num_shards,
                ),
                "num_found": counted["found"],
            }
            for split, counted, num_shards in planned
        },
    }


def _num_sections(images: float, *, annotation_bytes: float) -> int:
    """Parts of a shard: by its images, and, where there are few, by its annotations."""
    parts = images / _IMAGES_PER_SECTION, annotation_bytes / _ANNOTATION_BYTES_PER_SECTION
    return max(1, math.ceil(max(parts)))


def _size(path: str) -> int:
    found = file_metadata(path)
    return found.size_in_bytes if found else 0


def _num_shards(split: str, counted: Mapping[str, int], options: ConversionOptions) -> int:
    near = max(1, min(counted["images"], round(counted["bytes"] / options.shard_bytes)))
    return options.num_shards.get(split, AUTOMATIC) or near


def _check_found(
    split: str, counted: Mapping[str, int], reasons: Sequence[str], options: ConversionOptions
) -> None:
    """Refuses early if most images are missing; with fewer missing, the job fails at its end."""
    found, images = counted["found"], counted["images"]
    limit = max(_FEWEST_FOUND, options.limits.max_dropped_images)
    if images and images - found > limit * images:
        source = options.splits[split]
        raise DataError(
            f"{source.annotations}: of the {images} images of split {split!r} only {found} are in "
            f"{source.images}; is it the right folder, and is it complete?\n  "
            + "\n  ".join(sorted(reasons)[:_REASONS_SHOWN])
        )


def write_plan(
    output: str, options: ConversionOptions, reports: Sequence[Any], sizes: Sequence[Any]
) -> dict[str, Any]:
    """Returns `make_plan`'s, and writes it down."""
    plan = make_plan(reports, sizes, options)
    # For the display of the job's progress.
    write_file(output, PLAN, orjson.dumps(plan))
    return plan
