"""How many shards a split gets, once its images' bytes are counted, and what goes into which."""

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import orjson

from components.conversion.batches import HASH_BYTES, pack, part_of, unpack
from components.conversion.join_images import JOINED
from components.conversion.options import AUTOMATIC, ConversionOptions
from components.storage.files import PLAN, write_file
from pix2seq_model.data.categories import CategoryTable, merge_categories
from pix2seq_model.errors import DataError

# A split of which more than this fraction is missing is not converted at all.
_FEWEST_FOUND = 0.5
_REASONS_SHOWN = 3


def find_categories(
    reports: Sequence[Mapping[str, Any]], options: ConversionOptions
) -> CategoryTable:
    """Returns the categories from the annotation files' reports.

    Raises:
      DataError: a file could not be read, has no images, or the categories cannot be used.
    """
    if problems := sorted({report["problem"] for report in reports if report["problem"]}):
        raise DataError("\n".join(problems))
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
      reports: Of the annotation files' arrays.
      sizes: [split, images, images found, their bytes, why some were not], any number for each
        split.
      options: Of the conversion.

    Returns:
      `problem`: why nothing is written, or empty; `splits`: split to `num_shards`, `rows` (of
      images and annotations, as the files were read) and `num_found`.
    """
    found: dict[str, Any] = {split: collections.Counter() for split in options.splits}
    reasons: dict[str, list[str]] = {split: [] for split in options.splits}
    for split, num_images, num_found, num_bytes, some_reasons in sizes:
        found[split].update(images=num_images, found=num_found, bytes=num_bytes)
        reasons[split] += some_reasons
    rows: dict[str, dict[str, int]] = {split: {} for split in options.splits}
    for report in sorted(reports, key=lambda report: report["array"]):
        if report["array"] != "categories":
            rows[report["split"]][report["array"]] = report["rows"]
    problem = ""
    try:
        find_categories(reports, options)
        for split, counted in found.items():
            _check_found(split, counted, reasons[split], options)
    except DataError as error:
        problem = str(error)
    return {
        "problem": problem,
        "splits": {
            split: {
                "num_shards": _num_shards(split, counted, options),
                "rows": rows[split],
                "num_found": counted["found"],
            }
            for split, counted in found.items()
        },
    }


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


def pack_run(rows: Sequence[Sequence[Any]]) -> bytes:
    """Packs rows of `JoinedImage`, in their order, for a shard: the first one's hash goes in front.

    A batch of joined images is a run of hashes without a gap, so a shard's batches, sorted as
    bytes, are the shard's images in order; no worker needs to unpack a whole shard for that.
    """
    first = rows[0][0] if rows else 0
    return first.to_bytes(HASH_BYTES) + pack(JOINED, rows)


def unpack_runs(runs: Iterable[bytes]) -> Iterator[list[Any]]:
    """Yields the rows of a shard's batches, which must be sorted."""
    for run in runs:
        yield from unpack(run[HASH_BYTES:])[1]


def _assign(
    element: tuple[str, bytes], plan: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, int, int], bytes]]:
    if plan["problem"]:
        return
    split, batch = element
    num_shards = plan["splits"][split]["num_shards"]
    by_shard: dict[int, list] = collections.defaultdict(list)
    for row in unpack(batch)[1]:
        by_shard[part_of(row[0], num_shards)].append(row)
    for shard, rows in by_shard.items():
        yield (split, shard, num_shards), pack_run(rows)


def _every_shard(plan: dict[str, Any]) -> Iterator[tuple[tuple[str, int, int], bytes]]:
    """One empty batch for each shard, so that a shard without images is written too."""
    if plan["problem"]:
        return
    for split, planned in sorted(plan["splits"].items()):
        for shard in range(planned["num_shards"]):
            yield (split, shard, planned["num_shards"]), pack_run([])


@beam.ptransform_fn
def AssignShards(images: beam.PCollection, plan: beam.PCollection) -> beam.PCollection:  # noqa: N802
    """(split, batch) and the plan to ((split, shard, shards), batches of the shard's images)."""
    assigned = images | "To shards" >> beam.FlatMap(_assign, plan=beam.pvalue.AsSingleton(plan))
    every = plan | "Every shard" >> beam.FlatMap(_every_shard)
    return (assigned, every) | beam.Flatten() | "By shard" >> beam.GroupByKey()
