"""After the Beam job: the counts are checked, old files removed, the manifest written."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from components.conversion.options import ConversionOptions
from components.conversion.plan_shards import find_categories, place_of, refuse_unreadable
from components.storage.files import (
    PLAN,
    SHARD_NUMBERS,
    SUMMARY,
    TEMPORARY_FILES,
    file_exists,
    progress_file,
    read_file,
    read_summary,
    remove_others,
    write_file,
)
from pix2seq_model.data.box_statistics import BoxStatistics
from pix2seq_model.data.defects import RowCounts, counts_table, exceeded_limits
from pix2seq_model.data.likely_causes import likely_causes, same_names, wrong_boxes
from pix2seq_model.data.manifest import (
    FILE_NAME,
    STATISTICS_FILE,
    DatasetInfo,
    ShardInfo,
    SplitInfo,
    check_shards,
    dead_letter_file,
    read_dataset_info,
    shard_file,
)
from pix2seq_model.data.shard_check import check_stored
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import parse_json

_OUR_FILES = (
    f"Split-*/examples-{SHARD_NUMBERS}.tfrecord",
    f"dead_letter/*-{SHARD_NUMBERS}.jsonl",
    f"progress/*-{SHARD_NUMBERS}.json",
    *TEMPORARY_FILES,
)
_EXAMPLES_SHOWN = 3
_Total = TypeVar("_Total", RowCounts, BoxStatistics)


class LostRowsError(AssertionError):
    """The job's own counts do not add up: a bug in this code, never in the data."""


def _add_up(split: str, shards: Sequence[Mapping[str, Any]], rows: Mapping[str, int]) -> dict:
    """Sums the shards' counts and compares them with the rows that were read."""
    counts = {}
    for kind in ("images", "annotations"):
        total = _sum(RowCounts(), (shard[kind] for shard in shards))
        if not total.is_balanced() or total.rows_in != rows[kind]:
            raise LostRowsError(
                f"split {split!r}: {rows[kind]} {kind} were read, {total.rows_in} reached a shard, "
                f"{total.written} were written and {total.dropped.total()} dropped"
            )
        counts[kind] = total.to_json()
    return counts


def _sum(total: _Total, parts: Iterable[Mapping[str, Any]]) -> _Total:
    for part in parts:
        total.add(part)
    return total


def _shards_of(split: str, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    shards = [shard for shard in summary["shards"] if shard["split"] == split]
    planned = summary["plan"]["splits"][split]["num_shards"]
    if [shard["shard"] for shard in shards] != list(range(planned)):
        raise LostRowsError(f"split {split!r}: {planned} shards planned, {len(shards)} written")
    return shards


def defect_examples(output: str) -> str:
    """Returns a few dead-letter lines of each rule, for people."""
    lines: dict[str, list[str]] = collections.defaultdict(list)
    for shard in read_summary(output)["shards"]:
        there = shard["num_dead_letters"] and read_file(output, dead_letter_file(*place_of(shard)))
        for line in (there or b"").splitlines():
            try:
                row = parse_json(line, source="", fix="", kind=dict, finite=False)
            except DataError:  # Shown only.
                continue
            if not {"rule", "image", "annotation", "detail"} <= row.keys():
                continue
            if len(lines[row["rule"]]) < _EXAMPLES_SHOWN:
                at = f"{shard['split']} image {row['image']}"
                at += f", annotation {row['annotation']}" if row["annotation"] else ""
                lines[row["rule"]].append(f"  {row['rule']}: {at}: {row['detail']}")
    return "\n".join(line for rule in sorted(lines) for line in lines[rule])


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a conversion job did.

    Attributes:
      info: the manifest to be.
      problems: why the data set must not be used, as sentences that begin with the split.
      warnings: what a person should know of one that may be.
      nothing_to_learn: the splits without any object.
    """

    info: DatasetInfo
    problems: list[str]
    warnings: list[str]
    nothing_to_learn: list[str]

    def explained(self, output: str) -> str:
        """The counts, examples of what was set aside, and the likely causes; for people."""
        table = counts_table({name: split.counts for name, split in self.info.splits.items()})
        warnings = "\n".join(f"warning: {text}" for text in self.warnings)
        return "\n\n".join(filter(None, [table, defect_examples(output), warnings]))


def conversion_outcome(options: ConversionOptions, output: str) -> Outcome:
    """Adds up what the job's shards say, and writes the statistics.

    Args:
      options: as given to the job.
      output: examples folder.

    Raises:
      DataError: nothing was converted; says why.
    """
    summary = read_summary(output)
    refuse_unreadable(summary["files"])
    if summary["plan"]["problem"]:
        raise DataError(summary["plan"]["problem"])
    categories = find_categories(summary["files"], options)
    splits: dict[str, SplitInfo] = {}
    statistics, kept = {}, {PLAN, SUMMARY}
    problems, warnings, empty = [], list(same_names(categories.categories)), []
    for split in sorted(options.splits):
        shards = _shards_of(split, summary)
        rows = {file["array"]: file["rows"] for file in summary["files"] if file["split"] == split}
        counts = _add_up(split, shards, rows)
        for place in map(place_of, shards):
            kept |= {shard_file(*place), progress_file(*place)}
        # Others are of an earlier conversion, of whose defects nothing is left.
        kept |= {dead_letter_file(*place_of(s)) for s in shards if s["num_dead_letters"]}
        total = _sum(BoxStatistics(), (shard["statistics"] for shard in shards))
        empty_of_shards = [shard["statistics"].get("empty") for shard in shards]
        statistics[split] = {**total.to_json(), "empty_of_shards": empty_of_shards}
        splits[split] = SplitInfo(
            num_examples=counts["images"]["written"],
            num_objects=counts["annotations"]["written"],
            num_bytes=sum(shard["num_bytes"] for shard in shards),
            shards=tuple(
                ShardInfo(
                    file=shard_file(*place_of(shard)),
                    num_examples=shard["images"]["written"],
                    num_bytes=shard["num_bytes"],
                    sha256=shard["sha256"],
                    crc32c=shard.get("crc32c", ""),
                )
                for shard in shards
            ),
            counts=counts,
        )
        found = [*exceeded_limits(counts, options.limits)]
        signs: collections.Counter[str] = collections.Counter()
        for shard in shards:
            signs.update(shard.get("signs", {}))
        found += wrong_boxes(signs)
        if not counts["images"]["written"]:
            found.append("no images left")
        problems += [f"{split}: {text}" for text in found]
        objects = counts["annotations"]["written"] - total.crowd
        if not objects:
            empty.append(split)
        missing = [
            file["warning"]
            for file in summary["files"]
            if file["split"] == split and file.get("warning")
        ]
        hints = likely_causes(
            counts, objects=objects, crowds=total.crowd, missing_list="".join(missing)
        )
        warnings += [f"{split}: {text}" for text in hints]
    remove_others(output, _OUR_FILES, kept=kept)
    write_file(output, STATISTICS_FILE, orjson.dumps(statistics))
    info = DatasetInfo(
        name=options.name, seed=options.seed, categories=categories.categories, splits=splits
    )
    return Outcome(info, problems, warnings, empty)


def is_finished(options: ConversionOptions, output: str) -> bool:
    """Whether a folder holds the whole result of a conversion of the same data.

    Args:
      options: as of that conversion, except the limits on defects.
      output: examples folder, whose name tells the data and what decides the records.

    Raises:
      DataError: it does, and exceeds these limits.
    """
    if not file_exists(f"{output}/{FILE_NAME}"):
        return False
    try:
        info = read_dataset_info(output)
        check_shards(output, info)
        check_stored(output, info)
    except DataError:
        return False
    if info.splits.keys() != options.splits.keys():
        return False
    problems = [
        f"{split}: {problem}"
        for split, found in info.splits.items()
        for problem in exceeded_limits(found.counts, options.limits)
    ]
    if problems:
        raise DataError(
            f"{options.name} cannot be used:\n" + "\n".join(problems) + f"\n\nevery row is in "
            f"{output}/dead_letter; fix the data, or raise the limits on defects"
        )
    return True


def finish_conversion(
    options: ConversionOptions, output: str, *, say: Callable[[str], None] = print
) -> DatasetInfo:
    """Checks the job's result and writes the manifest.

    Args:
      options: as given to the job.
      output: examples folder.
      say: called with each warning.

    Raises:
      DataError: the input could not be used, exceeds the limits on defects, or leaves nothing to
        learn in any split.
    """
    output = output.rstrip("/")
    outcome = conversion_outcome(options, output)
    problems = outcome.problems
    if len(outcome.nothing_to_learn) == len(options.splits) and not problems:
        problems = ["no object is left to learn in any split"]
    if problems:
        raise DataError(
            f"{options.name} cannot be used:\n" + "\n".join(problems) + f"\n\n"
            f"{outcome.explained(output)}\n\nevery row is in {output}/dead_letter; fix the data, "
            "or raise the limits on defects: what is written already is kept"
        )
    for warning in outcome.warnings:
        say(f"warning: {warning}")
    write_file(output, FILE_NAME, outcome.info.to_json().encode() + b"\n")
    return outcome.info
