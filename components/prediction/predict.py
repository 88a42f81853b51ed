"""The whole of a batch prediction: a list of work, a Beam job over its shards, a manifest.

The list is made by the launching process and is stored next to the results. A job's graph must be
small, so it carries only the numbers of the shards.
"""

import collections
import dataclasses
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import apache_beam as beam
import orjson

from components.prediction.find_work import find_work
from components.prediction.folder import (
    KIND,
    LOCK_HOLDER,
    MANIFEST,
    OUR_FILES,
    WORK,
    check_no_others,
)
from components.prediction.options import PredictionOptions
from components.prediction.predict_shards import PredictShard
from components.storage.files import (
    PLAN,
    SUMMARY,
    begin_run,
    check_output_name,
    new_file,
    progress_file,
    read_summary,
    refusing,
    remove_others,
    write_file,
)
from components.storage.shards import Once
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import DataError
from pix2seq_model.folder_lock import FolderLock
from pix2seq_model.model_folder.folder import ModelInfo, read_model_info
from pix2seq_model.prediction.image_sources import EndingFilter

_MOST_SHARDS = 99_999


class LostImagesError(AssertionError):
    """The job's own counts do not add up: a bug in this code, never in the data."""


def _write_summary(output: str, reports: list[Any]) -> None:
    write_file(output, SUMMARY, orjson.dumps(sorted(reports, key=itemgetter("shard"))))


def predict_images(
    options: PredictionOptions,
    output: str,
    *,
    make_pipeline: Callable[[], beam.Pipeline],
    overwrite: bool = False,
) -> dict[str, Any]:
    """Detects the objects of many images.

    A run that was interrupted continues where it was: a shard that was finished for the same
    images, model and options is kept as it is.

    Args:
      options: what to read, and how.
      output: folder, local or gs://.
      make_pipeline: makes the pipeline.
      overwrite: write among files that a batch prediction did not write; they stay, unless they are
        called as its own.

    Returns:
      What the manifest says.

    Raises:
      ModelError: the model folder cannot be used.
      ConfigError: more objects are wanted than the model has positions for.
      DataError: the images cannot be found, none of them can be read, or `output` holds files of
        others.
      FolderInUseError: another prediction writes `output`.
      UserError: `output` cannot be written.
    """
    output = output.rstrip("/")
    check_output_name(output)
    info = read_model_info(options.model_dir)
    # The model folder's settings may change; the results belong to exactly these settings.
    options = dataclasses.replace(
        options,
        decoding=info.decoding_with(options.decoding),
        resize=options.resize or info.resize,
    )
    _check_decoding(options, info)
    if not overwrite:
        check_no_others(output)
    lock = FolderLock(output, holder=LOCK_HOLDER, otherwise="name another output folder")
    with lock:
        endings = EndingFilter(output=output)
        shards = _prepare(options, output, endings)
        owner = PredictShard(options, output=output, model_identity=info.weights_sha256)
        with make_pipeline() as pipeline:
            reports = (
                pipeline
                | "Shards" >> beam.Create(shards)
                # Otherwise one worker would own them all.
                | "Spread" >> beam.Reshuffle()
                | "Predict" >> beam.ParDo(owner)
            )
            _ = pipeline | "WriteSummary" >> Once(_write_summary, output, reports=reports)
        lock.check()
        left_out = +endings.left_out
        return _finish(options, output, info=info, num_shards=len(shards), left_out=left_out)


def _check_decoding(options: PredictionOptions, info: ModelInfo) -> None:
    wanted = {name: value for name, value in options.decoding.items() if name != "seed"}
    info.model.check_positions("max_objects", DecodeSettings(**wanted).max_objects)


def _prepare(
    options: PredictionOptions, output: str, endings: EndingFilter
) -> list[tuple[int, int, int, int]]:
    """Removes an old manifest and plan and writes the list of work."""
    places: list[tuple[int, int]] = []
    offset = 0
    with refusing(f"{output} cannot be written; give another output folder"):
        # First of all, so that a run that is killed leaves a folder that says whose it is.
        write_file(output, WORK, b"")
        begin_run(output, manifest=MANIFEST)
        with new_file(output, WORK) as file:
            for work in find_work(options, endings=endings):
                line = orjson.dumps(work, option=orjson.OPT_APPEND_NEWLINE)
                file.write(line)
                places.append((offset, len(line)))
                offset += len(line)
        plan = {"problem": "", "splits": {KIND: {"num_shards": len(places)}}}
        write_file(output, PLAN, orjson.dumps(plan))
    if len(places) > _MOST_SHARDS:
        raise DataError(
            f"{len(places):,} shards are too many: raise images_per_shard, which is "
            f"{options.images_per_shard}"
        )
    return [(shard, len(places), *place) for shard, place in enumerate(places)]


def _finish(
    options: PredictionOptions,
    output: str,
    *,
    info: ModelInfo,
    num_shards: int,
    left_out: dict[str, int],
) -> dict[str, Any]:
    """Checks the counts, removes what other runs left behind and writes the manifest."""
    reports = read_summary(output)
    if [report["shard"] for report in reports] != list(range(num_shards)):
        raise LostImagesError(f"{output}: {num_shards} shards of work, {len(reports)} done")
    if problems := [report["problem"] for report in reports if report["problem"]]:
        raise DataError("\n".join(problems[:10]))
    counts, unreadable = collections.Counter[str](), collections.Counter[str]()
    files: dict[str, Any] = {}
    for report in reports:
        unreadable.update(report["unreadable"])
        counts.update({name: report[name] for name in ("images", "written", "detections")})
        files |= report["files"]
    if counts["images"] != counts["written"] + unreadable.total():
        raise LostImagesError(
            f"{output}: {counts['images']} images, {counts['written']} written and "
            f"{unreadable.total()} unreadable"
        )
    notes = {progress_file(KIND, shard, num_shards) for shard in range(num_shards)}
    remove_others(output, OUR_FILES, kept={PLAN, SUMMARY, WORK, *notes, *files})
    manifest = {
        "images": counts["images"],
        "written": counts["written"],
        "unreadable": dict(sorted(unreadable.items())),
        "left_out": dict(sorted(left_out.items())),
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
