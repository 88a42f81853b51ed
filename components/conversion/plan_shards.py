"""How many shards a split gets, once its images' bytes are counted, and what goes into which."""

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import orjson

from components.conversion.batches import HASH_BYTES, pack, part_of, unpack
from components.conversion.join_images import JOINED
from components.conversion.options import AUTOMATIC, ConversionOptions
from components.storage import files as folder
from components.storage.files import write_file
from pix2seq_model.data.categories import CategoryTable, merge_categories
from pix2seq_model.errors import DataError

PLAN = "plan"
# A split of which more than this fraction is missing is not converted at all.
_FEWEST_FOUND = 0.5


def find_categories(reports: Sequence[Mapping[str, Any]]) -> CategoryTable:
    """Returns the categories from the annotation files' reports.

    Raises:
      DataError: a file could not be read, has no images, or the categories cannot be used.
    """
    problems = sorted({report["problem"] for report in reports if report["problem"]})
    if problems:
        raise DataError("\n".join(problems))
    return merge_categories(
        {
            report["split"]: (report["path"], report["categories"])
            for report in reports
            if report["array"] == "categories"
        }
    )


def _num_shards(num_bytes: int, num_images: int, *, wanted: int, shard_bytes: int) -> int:
    if wanted != AUTOMATIC:
        return wanted
    return max(1, min(num_images, round(num_bytes / shard_bytes)))


def make_plan(
    reports: Sequence[Mapping[str, Any]],
    sizes: Sequence[Sequence[Any]],
    options: ConversionOptions,
) -> dict[str, Any]:
    """Decides what is written.

    Args:
      reports: Of the annotation files' arrays.
      sizes: [split, images, images found, their bytes], any number for each split.
      options: Of the conversion.

    Returns:
      `problem`: why nothing is written, or empty; `splits`: split to `num_shards`, `rows` (of
      images and annotations, as the files were read) and `num_found`.
    """
    found: dict[str, collections.Counter] = {
        split: collections.Counter() for split in options.splits
    }
    for split, num_images, num_found, num_bytes in sizes:
        found[split].update(images=num_images, found=num_found, bytes=num_bytes)
    rows: dict[str, dict[str, int]] = {split: {} for split in options.splits}
    for report in reports:
        if report["array"] != "categories":
            rows[report["split"]][report["array"]] = report["rows"]
    problem = ""
    try:
        find_categories(reports)
        for split, counted in found.items():
            _check_found(split, counted, options)
    except DataError as error:
        problem = str(error)
    return {
        "problem": problem,
        "splits": {
            split: {
                "num_shards": _num_shards(
                    counted["bytes"],
                    counted["images"],
                    wanted=options.num_shards.get(split, AUTOMATIC),
                    shard_bytes=options.shard_bytes,
                ),
                "rows": dict(sorted(rows[split].items())),
                "num_found": counted["found"],
            }
            for split, counted in found.items()
        },
    }


def _check_found(split: str, counted: Mapping[str, int], options: ConversionOptions) -> None:
    """Refuses to read for hours what is not there. Past the limits in less, the job ends later."""
    found, images = counted["found"], counted["images"]
    limit = max(_FEWEST_FOUND, options.limits.max_dropped_images)
    if images and images - found > limit * images:
        source = options.splits[split]
        raise DataError(
            f"{source.annotations}: of the {images} images of split {split!r} only {found} are in "
            f"{source.images}; is it the right folder, and is it complete? "
            f"(a file_name is looked for as itself, as patchN/name and as name)"
        )


class _MakePlan(beam.DoFn):
    def __init__(self, options: ConversionOptions, output: str):
        self._options = options
        self._output = output

    def process(
        self, element: None, reports: list[bytes], sizes: list[bytes]
    ) -> Iterator[tuple[str, bytes]]:
        plan = make_plan(
            [orjson.loads(report) for report in reports],
            [orjson.loads(size) for size in sizes],
            self._options,
        )
        # For whoever watches the job's progress.
        write_file(self._output, folder.PLAN, orjson.dumps(plan))
        yield PLAN, orjson.dumps(plan)


def _shard_key(split: str, shard: int, num_shards: int) -> str:
    return f"{split}/{shard:05d}/{num_shards:05d}"


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


class _AssignShards(beam.DoFn):
    """(split, batch of joined images) to (`split/shard/shards`, batch of joined images)."""

    def process(
        self, element: tuple[str, bytes], plan: Mapping[str, bytes]
    ) -> Iterator[tuple[str, bytes]]:
        decided = orjson.loads(plan[PLAN])
        if decided["problem"]:
            return
        split, batch = element
        num_shards = decided["splits"][split]["num_shards"]
        by_shard: dict[int, list] = collections.defaultdict(list)
        for row in unpack(batch)[1]:
            by_shard[part_of(row[0], num_shards)].append(row)
        for shard, rows in by_shard.items():
            yield _shard_key(split, shard, num_shards), pack_run(rows)


class _EveryShard(beam.DoFn):
    """The plan to one empty batch for each shard, so that a shard without images is written too."""

    def process(self, element: tuple[str, bytes]) -> Iterator[tuple[str, bytes]]:
        plan = orjson.loads(element[1])
        if plan["problem"]:
            return
        for split, planned in sorted(plan["splits"].items()):
            for shard in range(planned["num_shards"]):
                yield _shard_key(split, shard, planned["num_shards"]), pack_run([])


class PlanShards(beam.PTransform):
    """Makes the plan: one element, ("plan", JSON of `make_plan`)."""

    def __init__(self, options: ConversionOptions, *, output: str):
        self._options = options
        self._output = output

    def expand(self, inputs: Mapping[str, beam.PCollection]) -> beam.PCollection:
        """`inputs` are `reports` of ReadAnnotations and `sizes` of JoinImages."""
        return (
            inputs["reports"].pipeline
            | "Once" >> beam.Create([None])
            | "Make plan"
            >> beam.ParDo(
                _MakePlan(self._options, self._output),
                reports=beam.pvalue.AsList(inputs["reports"]),
                sizes=beam.pvalue.AsList(inputs["sizes"]),
            ).with_output_types(tuple[str, bytes])
        )


class AssignShards(beam.PTransform):
    """(split, batch) and the plan to (shard key, batches of the shard's images)."""

    def __init__(self, plan: beam.PCollection):
        self._plan = plan

    def expand(self, images: beam.PCollection) -> beam.PCollection:
        assigned = images | "To shards" >> beam.ParDo(
            _AssignShards(), plan=beam.pvalue.AsDict(self._plan)
        ).with_output_types(tuple[str, bytes])
        every = self._plan | "Every shard" >> beam.ParDo(_EveryShard()).with_output_types(
            tuple[str, bytes]
        )
        return (assigned, every) | beam.Flatten() | "By shard" >> beam.GroupByKey()
