"""The whole of a batch prediction: a list of work, a Beam job over its shards, a manifest.

The list is made by the launching process and lies next to the results: a job's graph may not be
large; the job itself carries nothing but numbers of shards.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.io.filesystem import BeamIOError

from components.prediction.find_work import find_work
from components.prediction.folder import KIND, MANIFEST, OUR_FILES, WORK
from components.prediction.options import PredictionOptions
from components.prediction.predict_shards import PredictShard
from components.storage.files import (
    PLAN,
    SUMMARY,
    NewFile,
    check_output_name,
    progress_file,
    read_file,
    remove_files,
    remove_others,
    write_file,
)
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import DataError
from pix2seq_model.model_folder.folder import ModelInfo, read_model_info

_MOST_SHARDS = 99_999


class LostImagesError(AssertionError):
    """The job's own books do not balance: a defect of this code, never of the data."""


class PredictImages(beam.PTransform):
    """The shards of a list of work to their files, and a summary of them."""

    def __init__(
        self,
        options: PredictionOptions,
        *,
        output: str,
        model_identity: str,
        shards: Sequence[tuple[int, int, int, int]],
    ):
        """`shards` are (shard, shards, offset, length) of the list of work."""
        self._dofn = PredictShard(options, output=output, model_identity=model_identity)
        self._output = output
        self._shards = shards

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        reports = (
            pbegin
            | "Shards" >> beam.Create(self._shards)
            # Else one worker would own them all.
            | "Spread" >> beam.Reshuffle()
            | "Predict" >> beam.ParDo(self._dofn).with_output_types(bytes)
        )
        return (
            pbegin
            | "Once" >> beam.Create([None])
            | "WriteSummary"
            >> beam.ParDo(_WriteSummary(self._output), reports=beam.pvalue.AsList(reports))
        )


class _WriteSummary(beam.DoFn):
    def __init__(self, output: str):
        self._output = output

    def process(self, element: None, reports: list[bytes]) -> None:
        content = sorted(map(orjson.loads, reports), key=lambda report: report["shard"])
        write_file(self._output, SUMMARY, orjson.dumps(content))


def predict_images(
    options: PredictionOptions, output: str, *, make_pipeline: Callable[[], beam.Pipeline]
) -> dict[str, Any]:
    """Detects the objects of many images; `output` is a folder, local or `gs://`.

    A run that was interrupted continues where it was: a shard that was finished for the same
    images, model and options is kept as it is.

    Returns:
      What the manifest says.

    Raises:
      ModelError: the model folder cannot be used.
      ConfigError: more objects are wanted than the model has positions for.
      DataError: the images cannot be found, none of them can be read, or `output` not be written.
    """
    output = output.rstrip("/")
    check_output_name(output)
    info = read_model_info(options.model_dir)
    # What the model folder says may change; what was found by it goes with these very settings.
    options = dataclasses.replace(options, decoding=info.decoding_with(options.decoding))
    _check_decoding(options, info)
    shards = _prepare(options, output)
    with make_pipeline() as pipeline:
        _ = pipeline | "PredictImages" >> PredictImages(
            options, output=output, model_identity=info.weights_sha256, shards=shards
        )
    return _finish(options, output, info=info, num_shards=len(shards))


def _check_decoding(options: PredictionOptions, info: ModelInfo) -> None:
    wanted = {name: value for name, value in options.decoding.items() if name != "seed"}
    info.model.check_positions("max_objects", DecodeSettings(**wanted).max_objects)


def _prepare(options: PredictionOptions, output: str) -> list[tuple[int, int, int, int]]:
    """Takes an old manifest and plan out of the way and writes the list of work."""
    places: list[tuple[int, int]] = []
    offset = 0
    try:
        remove_files(f"{output}/{MANIFEST}", f"{output}/{PLAN}")
        write_file(output, SUMMARY, b"[]")
        with NewFile(output, WORK) as file:
            for work in find_work(options):
                line = orjson.dumps(work, option=orjson.OPT_APPEND_NEWLINE)
                file.write(line)
                places.append((offset, len(line)))
                offset += len(line)
        plan = {"problem": "", "splits": {KIND: {"num_shards": len(places)}}}
        write_file(output, PLAN, orjson.dumps(plan))
    except (OSError, BeamIOError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{output} cannot be written ({error}); give another output folder"
        ) from None
    if len(places) > _MOST_SHARDS:
        raise DataError(
            f"{len(places):,} shards are too many: raise images_per_shard, which is "
            f"{options.images_per_shard}"
        )
    return [(shard, len(places), *place) for shard, place in enumerate(places)]


def _finish(
    options: PredictionOptions, output: str, *, info: ModelInfo, num_shards: int
) -> dict[str, Any]:
    """Balances the books, removes what other runs left behind and writes the manifest."""
    reports = orjson.loads(read_file(output, SUMMARY) or b"[]")
    if [report["shard"] for report in reports] != list(range(num_shards)):
        raise LostImagesError(f"{output}: {num_shards} shards of work, {len(reports)} done")
    problems = [report["problem"] for report in reports if report["problem"]]
    if problems:
        raise DataError("\n".join(problems[:10]))
    counts: collections.Counter[str] = collections.Counter()
    unreadable: collections.Counter[str] = collections.Counter()
    for report in reports:
        unreadable.update(report["unreadable"])
        for name in ("images", "written", "detections"):
            counts[name] += report[name]
    if counts["images"] != counts["written"] + unreadable.total():
        raise LostImagesError(
            f"{output}: {counts['images']} images, {counts['written']} written and "
            f"{unreadable.total()} unreadable"
        )
    files = {name: file for report in reports for name, file in report["files"].items()}
    notes = {progress_file(KIND, shard, num_shards) for shard in range(num_shards)}
    remove_others(output, OUR_FILES, kept={PLAN, SUMMARY, WORK, *notes, *files})
    manifest = {
        "images": counts["images"],
        "written": counts["written"],
        "unreadable": dict(sorted(unreadable.items())),
        "detections": counts["detections"],
        "model": options.model_dir,
        "model_sha256": info.weights_sha256,
        "settings": options.content(),
        "files": dict(sorted(files.items())),
    }
    if not counts["written"]:
        raise DataError(
            f"none of {counts['images']:,} images can be read; the reasons are in "
            f"{output}/unreadable"
        )
    content = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_file(output, MANIFEST, content)
    return manifest
