"""The conversion job: `ConvertDataset` in Beam, with a step before it and one after it.

    prepare_conversion(options, output)               in the launching process; refuses bad input
    with beam.Pipeline(...) as pipeline:
        pipeline | ConvertDataset(options, output=output)
    info = finish_conversion(options, output)         in the launching process; writes the manifest

`convert_dataset` does the three. What is wrong with the input is found out in the workers, but
raised by the last step, as a `DataError` on every runner alike.
"""

from collections.abc import Callable
from typing import Any

import apache_beam as beam
import orjson

from components.conversion.find_repeats import FindRepeats
from components.conversion.finish import finish_conversion
from components.conversion.join_images import JoinImages
from components.conversion.options import ConversionOptions
from components.conversion.plan_shards import PLAN, AssignShards, PlanShards
from components.conversion.prepare import prepare_conversion
from components.conversion.read_annotations import ReadAnnotations
from components.conversion.write_shards import WriteShards
from components.storage.files import SUMMARY, write_file
from pix2seq_model.data.manifest import DatasetInfo


class _WriteSummary(beam.DoFn):
    def __init__(self, output: str):
        self._output = output

    def process(
        self, element: None, plan: dict[str, bytes], files: list[bytes], shards: list[bytes]
    ) -> None:
        # Sorted: the order in which elements arrive is not the same on every run.
        summary: dict[str, Any] = {
            "plan": orjson.loads(plan[PLAN]),
            "files": sorted(
                (orjson.loads(report) for report in files),
                key=lambda report: (report["split"], report["array"]),
            ),
            "shards": sorted(
                (orjson.loads(report) for report in shards),
                key=lambda report: (report["split"], report["shard"]),
            ),
        }
        write_file(self._output, SUMMARY, orjson.dumps(summary))


class ConvertDataset(beam.PTransform):
    """Annotation files and images to shards of records, and a summary for `finish_conversion`."""

    def __init__(self, options: ConversionOptions, *, output: str, write_records: bool = True):
        """With `write_records=False` everything is examined and counted, and no record written."""
        self._options = options
        self._output = output.rstrip("/")
        self._write_records = write_records

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        options, output = self._options, self._output
        read = pbegin | "ReadAnnotations" >> ReadAnnotations(options)
        repeats = read["names"] | "FindRepeats" >> FindRepeats(options.seed)
        joined = (
            (read["rows"], repeats)
            | "AllRows" >> beam.Flatten()
            | "JoinImages" >> JoinImages(options)
        )
        plan = {
            "reports": read["reports"],
            "sizes": joined["sizes"],
        } | "PlanShards" >> PlanShards(options, output=output)
        shards = (
            joined["images"]
            | "AssignShards" >> AssignShards(plan)
            | "WriteShards"
            >> WriteShards(
                options,
                output=output,
                reports=read["reports"],
                write_records=self._write_records,
            )
        )
        return (
            pbegin
            | "Once" >> beam.Create([None])
            | "WriteSummary"
            >> beam.ParDo(
                _WriteSummary(output),
                plan=beam.pvalue.AsDict(plan),
                files=beam.pvalue.AsList(read["reports"]),
                shards=beam.pvalue.AsList(shards),
            )
        )


def convert_dataset(
    options: ConversionOptions, output: str, *, make_pipeline: Callable[[], beam.Pipeline]
) -> DatasetInfo:
    """Converts a data set; `output` is the examples folder, local or `gs://`.

    Raises:
      DataError: the input cannot be used, or more of it is defective than the options allow.
    """
    prepare_conversion(options, output)
    with make_pipeline() as pipeline:
        _ = pipeline | "ConvertDataset" >> ConvertDataset(options, output=output)
    return finish_conversion(options, output)
