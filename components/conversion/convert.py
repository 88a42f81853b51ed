"""The conversion job: `ConvertDataset` in Beam, with a step before it and one after it.

    options = prepare_conversion(options, output)     in the launching process; refuses bad input
    with beam.Pipeline(...) as pipeline:
        pipeline | ConvertDataset(options, output=output)
    info = finish_conversion(options, output)         in the launching process; writes the manifest

`convert_dataset` does all three. Problems of the input are found in the workers, but raised by the
last step, as a `DataError` on every runner.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import apache_beam as beam
import orjson

from components.conversion.finish import finish_conversion
from components.conversion.join_images import JoinImages
from components.conversion.list_images import ListImages
from components.conversion.locate_images import LocateImages
from components.conversion.options import ConversionOptions
from components.conversion.plan_shards import AssignShards, write_plan
from components.conversion.prepare import prepare_conversion
from components.conversion.read_annotations import ReadAnnotations
from components.conversion.write_shards import WriteShards
from components.storage.files import SUMMARY, write_file
from components.storage.shards import Once
from pix2seq_model.data.manifest import DatasetInfo


def _write_summary(output: str, plan: list[Any], files: list[Any], shards: list[Any]) -> None:
    # Sorted: the order in which elements arrive is not the same on every run.
    summary = {
        "plan": plan[0],
        "files": sorted(files, key=itemgetter("split", "array")),
        "shards": sorted(shards, key=itemgetter("split", "shard")),
    }
    write_file(output, SUMMARY, orjson.dumps(summary))


@beam.ptransform_fn
def ConvertDataset(  # noqa: N802
    pbegin: beam.pvalue.PBegin,
    options: ConversionOptions,
    *,
    output: str,
    write_records: bool = True,
) -> beam.PCollection:
    """Annotation files and images to shards of records, and a summary for `finish_conversion`.

    With `write_records=False` everything is examined and counted, and no record written.
    """
    output = output.rstrip("/")
    read = pbegin | "ReadAnnotations" >> ReadAnnotations(options)
    files = pbegin | "ListImages" >> ListImages(options)
    found = read.names | "LocateImages" >> LocateImages(options, files=files)
    rows = (read.rows, found) | "AllRows" >> beam.Flatten()
    joined = rows | "JoinImages" >> JoinImages(options)
    plan = pbegin | "PlanShards" >> Once(
        write_plan, output, options, reports=read.reports, sizes=joined.sizes
    )
    shards = (
        joined.images
        | "AssignShards" >> AssignShards(plan)
        | "WriteShards"
        >> WriteShards(options, output=output, reports=read.reports, write_records=write_records)
    )
    return pbegin | "WriteSummary" >> Once(
        _write_summary, output, plan=plan, files=read.reports, shards=shards
    )


def convert_dataset(
    options: ConversionOptions, output: str, *, make_pipeline: Callable[[], beam.Pipeline]
) -> DatasetInfo:
    """Converts a data set; `output` is the examples folder, local or `gs://`.

    Raises:
      DataError: the input cannot be used, or more of it is defective than the options allow.
    """
    options = prepare_conversion(options, output)
    with make_pipeline() as pipeline:
        _ = pipeline | "ConvertDataset" >> ConvertDataset(options, output=output)
    return finish_conversion(options, output)
