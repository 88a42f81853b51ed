"""Converts a small data set in this process, and reads back what was written."""

import hashlib
import json
from collections import Counter

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from components.conversion.convert import convert_dataset
from pix2seq_model.data.defects import DefectLimits
from pix2seq_model.data.manifest import check_shards, read_dataset_info
from pix2seq_model.data.records import decode_example
from pix2seq_model.data.tfrecord import read_records
from tests.small_dataset import options

ANYTHING_GOES = DefectLimits(max_dropped_images=1.0, max_dropped_annotations=1.0)


def in_memory():
    return beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))


def convert(folder, sources, **changes):
    changes = {"limits": ANYTHING_GOES, **changes}
    return convert_dataset(
        options(sources, **changes), str(folder / "out"), make_pipeline=in_memory
    )


def read_split(folder, split="train"):
    """Image id to (serialized, decoded) of all records, in order, checked against the manifest."""
    info = read_dataset_info(folder / "out")
    check_shards(folder / "out", info)
    records = {}
    for shard, path in zip(info.splits[split].shards, info.shard_paths(folder / "out", split)):
        with open(path, "rb") as file:
            data = file.read()
            file.seek(0)
            serialized = list(read_records(file, name=path))
        assert hashlib.sha256(data).hexdigest() == shard.sha256
        assert len(serialized) == shard.num_examples
        for record in serialized:
            example = decode_example(record)
            assert example["image_id"] not in records
            records[example["image_id"]] = record, example
    return records


def dead_letters(folder):
    lines = []
    for path in sorted((folder / "out/dead_letter").glob("*.jsonl")):
        lines += [json.loads(line) for line in path.read_text().splitlines()]
    return lines


def found_rules(info, split="train"):
    counts = info.splits[split].counts
    rules = Counter()
    for kind in ("images", "annotations"):
        assert counts[kind]["rows_in"] == counts[kind]["written"] + sum(
            counts[kind]["dropped"].values()
        )
        rules.update(counts[kind]["dropped"])
        rules.update(counts[kind]["changed"])
    return rules
