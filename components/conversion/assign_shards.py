"""What goes into which shard: images, and the annotations as they are read."""

import collections
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from components.conversion.batches import BatchPacker, image_hash, owner, pack, part_of, unpack
from components.conversion.collection import collect_only_new_objects
from components.conversion.join_images import JOINED
from components.conversion.options import ConversionOptions
from components.conversion.read_annotations import ANNOTATION, FILE, read_reported
from components.storage.files import file_metadata
from pix2seq_model.data.annotations import parse_annotation_row

# A local runner holds a shuffle several times while it hands it on, and once until then. So where
# annotations are many, shards are grouped and written in waves, one shuffle each.
_MOST_WAVES = 16
_ANNOTATION_BYTES_IN_A_WAVE = 100_000_000
_FEWEST_SHARDS_IN_A_WAVE = 16
_SECTION_BYTES = 4

_Place = tuple[str, int, int]


def in_section(section: int, batch: bytes) -> bytes:
    """A batch with the part of the shard that its rows are in."""
    return section.to_bytes(_SECTION_BYTES) + batch


def sections(batches: list[bytes]) -> Iterator[list[bytes]]:
    """Yields the batches of each part of a shard, the parts in their order."""
    by_section: dict[bytes, list[bytes]] = collections.defaultdict(list)
    for batch in batches:
        by_section[batch[:_SECTION_BYTES]].append(batch[_SECTION_BYTES:])
    for section in sorted(by_section):
        yield by_section[section]


class _ToShards(beam.DoFn):
    """(split, batch of joined images, or the name of an annotation file) to waves of batches.

    The file is read here, when the number of shards is known, so that boxes are shuffled once.
    """

    def __init__(self, seed: int, *, waves: int, shards_at_once: int):
        self._seed, self._waves = seed, waves
        self._fewest = max(_FEWEST_SHARDS_IN_A_WAVE, shards_at_once)

    def setup(self) -> None:
        collect_only_new_objects()

    def process(self, element: tuple[str, bytes], plan: Mapping[str, Any]) -> Iterator[Any]:
        split, batch = element
        kind, rows = unpack(batch)
        num_shards = plan["splits"][split]["num_shards"]
        num_sections = plan["splits"][split]["num_sections"]
        in_wave = max(self._fewest, -(-num_shards // self._waves))
        parts = _Parts(num_shards * num_sections, split=split, seed=self._seed)
        placed: Iterator[Any] = parts.of_images(rows)
        if kind == FILE:
            # Even if nothing is to be written, so that all that is wrong with it is said at once.
            annotations = read_reported(split, rows[0][0], "annotations", parts.of_annotations)
            # And an empty batch for each shard, so that one without images is written too.
            every = ((shard * num_sections, pack(JOINED, [])) for shard in range(num_shards))
            placed = itertools.chain(every, annotations)
        for one in placed:
            if isinstance(one, pvalue.TaggedOutput):
                yield one
            elif not plan["problem"]:
                shard, section = divmod(one[0], num_sections)
                value = (split, shard, num_shards), in_section(section, one[1])
                yield pvalue.TaggedOutput(_wave(shard // in_wave), value)


class _Parts:
    """Rows to batches by the part of a split that they fall into: a section of a shard."""

    def __init__(self, num_parts: int, *, split: str, seed: int):
        self._num_parts = num_parts
        self._split, self._seed = split, seed

    def of_images(self, rows: list[Any]) -> Iterator[tuple[int, bytes]]:
        parts: dict[int, list[Any]] = collections.defaultdict(list)
        for row in rows:
            parts[part_of(row[0], self._num_parts)].append(row)
        for part, some in parts.items():
            yield part, pack(JOINED, some)

    def of_annotations(self, rows: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, bytes]]:
        packer: BatchPacker[int] = BatchPacker(ANNOTATION)
        for ordinal, raw in rows:
            row = parse_annotation_row(raw, ordinal)
            hash_ = image_hash(owner(row), split=self._split, seed=self._seed)
            yield from packer.add(part_of(hash_, self._num_parts), row.packed())
        yield from packer.flush()


def _wave(number: int) -> str:
    return f"wave{number}"


def num_waves(options: ConversionOptions) -> int:
    """Returns in how many waves the shards are written, by the size of the annotation files."""
    files = [file_metadata(source.annotations) for source in options.splits.values()]
    num_bytes = sum(file.size_in_bytes for file in files if file)
    return min(_MOST_WAVES, max(1, num_bytes // _ANNOTATION_BYTES_IN_A_WAVE))


@beam.ptransform_fn
def AssignShards(  # noqa: N802
    images: beam.PCollection,
    options: ConversionOptions,
    *,
    files: beam.PCollection,
    plan: beam.PCollection,
    shards_at_once: int,
) -> tuple[list[beam.PCollection], beam.PCollection]:
    """Joined images, and the annotations from their files, to their shards.

    Args:
      images: (split, batch of `JoinedImage`).
      options: of the conversion.
      files: (split, batch of the annotation file's path).
      plan: of `make_plan`.
      shards_at_once: as many as are written at one time, at least, share a shuffle.

    Returns:
      The waves, each of ((split, shard, shards), batches in their sections), and the reports of
      reading the annotations.
    """
    tags = [_wave(number) for number in range(num_waves(options))]
    to_shards = _ToShards(options.seed, waves=len(tags), shards_at_once=shards_at_once)
    # Before the annotations are read, as a runner may copy what it flattens.
    outputs = (
        (images, files)
        | "Images and files" >> beam.Flatten()
        | "To shards"
        >> beam.ParDo(to_shards, plan=beam.pvalue.AsSingleton(plan))
        .with_output_types(
            tuple[_Place, bytes],
            reports=dict[str, Any],
            **dict.fromkeys(tags, tuple[_Place, bytes]),
        )
        .with_outputs("reports", *tags)
    )
    waves = [outputs[tag] | f"By shard, {tag}" >> beam.GroupByKey() for tag in tags]
    return waves, outputs["reports"]
