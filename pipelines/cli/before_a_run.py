"""What a run on this machine would find out late, said before it starts: data, memory."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from pipelines.cli.local_gpus import local_gpus
from pipelines.keras_backend import keras_backend
from pipelines.request import Request
from pipelines.vertex.fit import what_fits
from pix2seq_model.data.dataset_scan import scan_dataset
from pix2seq_model.data.folder_walk import walk_files
from pix2seq_model.data.pixel_budget import machine_memory
from pix2seq_model.data.settings import AUTO, LABEL_FORMATS
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.experiment.data_warnings import check_boxes, class_warnings, setting_warnings
from pix2seq_model.experiment.estimate import GIB, Estimate, estimate
from pix2seq_model.experiment.loading import places_of
from pix2seq_model.experiment.machines import Machine
from pix2seq_model.experiment.validation import training_run, vocabulary
from pix2seq_model.store_access import check_reachable

# Annotation files of more bytes would take minutes to look through.
_MAX_SCANNED_BYTES = 1_500_000_000
# They are copied from a bucket first.
_MAX_FETCHED_BYTES = 500_000_000
# Labels of a labelling tool are files of their own, and some give boxes in parts of an image's
# size, for which each image is opened.
_MAX_LABELLED_IMAGES = 20_000
# Of a pixel of a batch, several times what the largest network keeps: what stays below half of the
# memory so counted is not traced, which takes ten seconds.
_BYTES_OF_A_PIXEL = 64_000
_STAGE_OF = {"evaluation": "evaluate", "push": "push"}
_NVIDIA, _TPU = Path("/proc/driver/nvidia/gpus"), Path("/dev/accel0")


def check_buckets_of(request: Request) -> None:
    """Refuses places in buckets that a run on this machine needs, where there is no network.

    Raises:
      UnavailableError: see `check_reachable`; names the setting.
    """
    trained = [stage for stage in request.training_stages if stage in request.needed]
    ends = [name for name in ("evaluation", "push") if _STAGE_OF[name] in request.needed]
    sections = (*(f"data.{stage}" for stage in request.converted), *trained, *ends)
    for key, place in places_of(request.config).items():
        if key.startswith(tuple(f"{section}." for section in sections)):
            check_reachable(place, key)


def before_a_run(request: Request) -> Iterator[str]:
    """Warnings about the training stages of a request.

    Raises:
      DataError: an annotation file cannot be used, or a split has no box.
    """
    for stage in request.training_stages:
        if stage in request.needed:
            yield from (f"{stage}: {text}" for text in _data_warnings(request, stage))
    for stage in request.training_stages:
        if stage in request.stages:
            yield from _memory_warnings(request, stage)


def _data_warnings(request: Request, stage: str) -> Iterator[str]:
    config, source = request.config, request.config.data[stage]
    if config.own_data.scan or source.format == AUTO:
        return  # Scanned when the config was loaded, or not recognised yet.
    wanted = {config[stage].split: "learn"}
    if stage == request.training_stages[-1] and "evaluate" in request.needed:
        wanted.setdefault(config.evaluation.split, "measure")
    files = {split: source.annotations[split] for split in wanted}
    named = {split: f"data.{stage}.annotations.{split}={file}" for split, file in files.items()}
    limit = vocabulary(config).max_category_id
    unwanted = {name: source[name] for name in ("drop_fake", "drop_reflected")}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            here = {split: _coco_file(source, split, scratch) for split in files}
        except _NotLookedAtError as error:
            # What training leaves out is said when it starts, from the counts of the records.
            yield f"the annotations are not looked at before the run: {error}"
            return
        try:
            scan = scan_dataset(here, max_category_id=limit, **unwanted)
        except DataError as error:
            text = str(error)
            for split, file in files.items():
                text = text.replace(here[split], file)
            raise DataError(f"data.{stage}.annotations: {text}") from None
    check_boxes(scan, wanted, named)
    yield from setting_warnings(config, stage, scan)
    yield from class_warnings(scan, config[stage].split)


class _NotLookedAtError(Exception):
    """Why annotations are not looked at."""


def _coco_file(source: ConfigDict, split: str, scratch: str) -> str:
    """The annotation file of a split, or the labels of a labelling tool as one, on this machine.

    Raises:
      DataError: the labels cannot be read.
      _NotLookedAtError: as `_on_this_machine`.
    """
    images, annotations = source.images[split], source.annotations[split]
    if source.format not in LABEL_FORMATS:
        return _on_this_machine(annotations, scratch)
    if "://" in images or "://" in annotations:
        raise _NotLookedAtError(f"the labels in {annotations} are many files in a bucket")
    if next(itertools.islice(walk_files(images), _MAX_LABELLED_IMAGES, None), None) is not None:
        raise _NotLookedAtError(f"{images} holds more than {_MAX_LABELLED_IMAGES:,} files")
    from components.conversion.options import SplitSource
    from components.labels.layout import coco_file

    labels = SplitSource(images=images, annotations=annotations, format=source.format)
    # What is left out of the file is said when the data are converted.
    return coco_file(labels, split, output=scratch, say=lambda _: None)


def _on_this_machine(file: str, scratch: str) -> str:
    """An annotation file, or a copy of it in a folder if it lies in a bucket.

    Raises:
      _NotLookedAtError: it is too large, or the bucket does not give it.
    """
    if "://" not in file:
        _check_size(file, os.path.getsize(file), most=_MAX_SCANNED_BYTES)
        return file
    from components.storage.files import file_metadata, open_file  # Beam: takes a second.

    try:
        if (found := file_metadata(file)) is None:
            raise DataError(f"{file}: no such file")
        _check_size(file, found.size_in_bytes, most=_MAX_FETCHED_BYTES)
        print(f"Reading {file} ...", flush=True)
        copy = os.path.join(scratch, f"{len(os.listdir(scratch))}-{os.path.basename(file)}")
        with open_file(file) as source, open(copy, "wb") as target:
            shutil.copyfileobj(source, target)
        return copy
    except (DataError, _NotLookedAtError):
        raise
    except Exception as error:  # Of the network, the login, the store: the step that needs it says.
        reason = str(error).strip().splitlines()
        text = reason[0] if reason else type(error).__name__
        raise _NotLookedAtError(f"{file} cannot be read now ({text:.200})") from None


def _check_size(file: str, size: int, *, most: int) -> None:
    if size > most:
        raise _NotLookedAtError(
            f"{file} has {size:,} bytes, more than the {most:,} that are looked through; "
            "`python pipelines/check_dataset.py` looks through any"
        )


def _memory_warnings(request: Request, stage: str) -> Iterator[str]:
    """Of a stage whose step takes more memory than this machine, or each of its GPUs, has.

    Of a TPU, and of a GPU whose driver does not say, the memory is not known here.
    """
    if (here := _this_machine()) is None:
        return
    run = training_run(request.config, stage)
    height, width = run.model.image_size
    pixels = height * width * run.settings.images_per_batch
    if pixels * _BYTES_OF_A_PIXEL < here.devices * here.memory_gib * GIB / 2:
        return
    print(f"Estimating the memory of {stage} (the first time that takes a minute) ...", flush=True)
    try:
        found = estimate(run, here, backend=keras_backend())
    except ConfigError as error:
        yield f"whether {stage} fits this machine's memory is not known: {error}"
        return
    needed = f"a step takes about {found.memory_bytes / GIB:.1f} GiB of memory"
    if here.accelerator_count and found.memory_bytes > found.usable_bytes:
        yield (
            f"{stage} does not fit {here.name}: {needed} of a GPU, which has "
            f"{here.memory_gib:.1f}, {found.usable_bytes / GIB:.1f} of them to use; training would "
            f"end for lack of it. What fits: {_what_fits_here(found, stage, 'a larger GPU')}"
        )
    elif not here.accelerator_count and found.memory_bytes > here.memory_gib * GIB:
        yield (
            f"{stage} does not fit this machine: {needed}, and there are {here.memory_gib:.1f}; "
            f"the system would end it. What fits: "
            f"{_what_fits_here(found, stage, 'a machine with a GPU')}"
        )


def _what_fits_here(found: Estimate, stage: str, larger: str) -> str:
    fix = what_fits(found)
    # Of a machine on Google Cloud.
    in_the_cloud = f"a smaller --config.{stage}.batch_size, or {larger} ({fix})"
    return in_the_cloud if "preset" in fix else fix


def _this_machine() -> Machine | None:
    """What a step has here; None where that is not known."""
    gpus = local_gpus() if has_accelerator() else ()
    if has_accelerator() and not gpus:
        return None
    peak = {"mixed_bfloat16": 1.0, "float32": 1.0}
    cores = os.cpu_count() or 1
    if not gpus:
        return Machine(
            name="this machine",
            machine_type="this machine",
            memory_gib=machine_memory() / GIB,
            peak_tflops=peak,
            host_cores=cores,
        )
    return Machine(
        name="this machine's GPU" if len(gpus) == 1 else f"this machine's {len(gpus)} GPUs",
        machine_type="this machine",
        accelerator_type=f"NVIDIA {gpus[0].name}",
        accelerator_count=len(gpus),
        memory_gib=min(gpu.memory_bytes for gpu in gpus) / GIB,
        peak_tflops=peak,
        host_cores=cores,
    )


def has_accelerator() -> bool:
    """Whether there is a GPU or TPU that may be seen; without asking a backend."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    return (_NVIDIA.is_dir() and not hidden) or _TPU.exists()
