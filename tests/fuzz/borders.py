"""Where input of others comes in, what a whole one looks like, and what reads it.

A reader returns, or raises what names the trouble: a `UserError`, or an `ImageDefect` for an image.
Anything else is a fault.
"""

import dataclasses
import functools
import gzip
import io
import json
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from components.conversion.unpack_archives import _unpack
from pix2seq_model.data.annotation_file import read_annotation_file
from pix2seq_model.data.categories import category_numbers
from pix2seq_model.data.image_check import ImageDefect, check_image, plain_image, upright_size
from pix2seq_model.data.manifest import (
    FILE_NAME,
    DatasetInfo,
    ShardInfo,
    SplitInfo,
    check_shards,
    read_dataset_info,
)
from pix2seq_model.data.shard_check import check_counted_labels
from pix2seq_model.errors import CheckpointError, UserError
from pix2seq_model.prediction.image_sources import find_images
from tests.fixtures.small_dataset import SmallDataset
from tests.fuzz.http_border import answer, http_requests
from tests.fuzz.label_border import (
    LABEL_WORDS,
    hostile_label_files,
    label_files,
    read_labels_shortly,
)


@dataclasses.dataclass(frozen=True)
class Border:
    """One border.

    Attributes:
      wholes: inputs without a fault.
      read: takes an input and an empty folder.
      words: pieces of the format, to be put in elsewhere.
      hostile: inputs that nobody writes by mistake, to be damaged like the others.
      accepted: what `read` may raise.
    """

    wholes: Callable[[], Sequence[bytes]]
    read: Callable[[bytes, Path], object]
    words: Sequence[bytes] = ()
    accepted: tuple[type[Exception], ...] = (UserError,)
    hostile: Sequence[bytes] = ()

    def seeds(self) -> list[bytes]:
        """What the damaged inputs are made from."""
        return [*self.wholes(), *self.hostile]


def _annotation_files() -> list[bytes]:
    text = json.dumps(SmallDataset(3).content).encode()
    return [text, json.dumps(json.loads(text), indent=1).encode(), gzip.compress(text, mtime=0)]


def _read_annotations(data: bytes, folder: Path) -> None:
    path = folder / "labels.json"
    path.write_bytes(data)
    read_annotation_file(path)


def _images() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    kinds = (("JPEG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("GIF", "P"), ("BMP", "RGB"))
    files = []
    for image_format, mode in (*kinds, ("WEBP", "RGB"), ("TIFF", "RGB"), ("PNG", "I;16")):
        file = io.BytesIO()
        image = Image.fromarray(pixels)
        image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
        image.save(file, image_format)
        files.append(file.getvalue())
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(turned, "JPEG", exif=exif)
    return [*files, turned.getvalue()]


def _read_image(data: bytes, folder: Path) -> None:
    readers = (
        lambda: check_image(data, file_name="x.jpg", expected_size=(9, 12), max_pixels=10**6),
        lambda: plain_image(data, max_pixels=10**6),
        lambda: upright_size(data),
    )
    for read in readers:
        try:
            read()
        except ImageDefect:
            continue


def _zips() -> list[bytes]:
    files = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name in ("a.jpg", "folder/b.png", "c.txt"):
                archive.writestr(zipfile.ZipInfo(name), _images()[0], method)
        files.append(file.getvalue())
    return files


def _read_zip(data: bytes, folder: Path) -> None:
    path = folder / "images.zip"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Doubled names.
        for source in find_images([path]):
            try:
                source.read()
            except (OSError, ValueError):  # As its documentation says.
                continue


def _tars() -> list[bytes]:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("a.jpg", "folder/b.jpg", "n" * 150):
            member = tarfile.TarInfo(name)
            member.size = 40
            archive.addfile(member, io.BytesIO(b"x" * 40))
    return [file.getvalue(), gzip.compress(file.getvalue(), mtime=0)]


def _read_tar(data: bytes, folder: Path) -> None:
    path, output = folder / "images.tar", folder / "a" / "b" / "out"
    path.write_bytes(data)
    output.parent.mkdir(parents=True)
    report = _unpack(str(path), str(output), max_member_bytes=10**6)
    assert report["problem"] or report["files"]
    # Nothing is written outside of the folder that was named.
    assert {found for found in folder.rglob("*") if output not in (found, *found.parents)} == {
        *(path, folder / "a", folder / "a" / "b")
    }


def _manifests() -> list[bytes]:
    shard = ShardInfo(file="Split-train/x", num_examples=3, num_bytes=7, sha256="0" * 64)
    images = {"rows_in": 5, "written": 3, "dropped": {"image_missing": 2}, "changed": {}}
    counts = {"images": images, "annotations": {**images, "changed": {"box_clipped": 1}}}
    split = SplitInfo(num_examples=3, num_objects=3, num_bytes=7, shards=(shard,), counts=counts)
    categories = ({"id": 1, "name": "ring"}, {"id": 2, "name": "box", "source_id": "b"})
    info = DatasetInfo(name="x", seed=0, categories=categories, splits={"train": split})
    return [info.to_json().encode()]


def _read_manifest(data: bytes, folder: Path) -> None:
    (folder / FILE_NAME).write_bytes(data)
    info = read_dataset_info(folder)
    info.category_names()
    category_numbers(info.categories)
    info.fingerprint()
    for name, split in info.splits.items():
        for kind, _, _, _ in split.applied_rules():
            assert split.counts[kind]["rows_in"] >= 0
        info.shard_paths(folder, name)
        check_counted_labels(folder, info, name)
    check_shards(folder, info)


@functools.cache
def _checkpoint() -> bytes:
    import tempfile

    from pix2seq_model.training.checkpoint import CheckpointFolder, TrainingState

    groups = {"model": [np.arange(6.0).reshape(2, 3), np.zeros(())], "optimizer": [np.ones(4)]}
    with tempfile.TemporaryDirectory() as scratch:
        state = TrainingState(step=3, groups=groups, record={"loss": 1.5})
        return Path(CheckpointFolder(scratch).save(state)).read_bytes()


def _read_checkpoint(data: bytes, folder: Path) -> None:
    from pix2seq_model.training.checkpoint import CheckpointFolder

    (folder / "step-000000003.npz").write_bytes(data)
    state = CheckpointFolder(folder).restore(warn=lambda text: None)
    if state is not None and data != _checkpoint():
        # Damage that no array shows: dates, and what follows the archive.
        assert state.groups["model"][0].tolist() == [[0, 1, 2], [3, 4, 5]]


BORDERS = {
    "annotations": Border(_annotation_files, _read_annotations, (b'"images": [', b'"id": 100')),
    "labels": Border(label_files, read_labels_shortly, LABEL_WORDS, hostile=hostile_label_files()),
    "image": Border(
        _images, _read_image, (b"\xff\xd8", b"\xff\xda", b"IHDR", b"IDAT", b"Exif\0\0")
    ),
    "zip": Border(_zips, _read_zip, (b"PK\x03\x04", b"PK\x06\x06", b"a.jpg", b"\x63\x00")),
    "tar": Border(_tars, _read_tar, (b"ustar\x0000", b"L", b"x", b"\x1f\x8b\x08")),
    "manifest": Border(
        _manifests, _read_manifest, (b'"counts": 5', b'"dropped": ["a"]', b'"schema_version": 1')
    ),
    "checkpoint": Border(
        lambda: [_checkpoint()],
        _read_checkpoint,
        (b"\x93NUMPY", b"'shape': (2, 3)", b"'shape': (10000000000000,)", b"PK\x03\x04"),
        (CheckpointError,),
    ),
    "http": Border(http_requests, answer, (b"Content-Length: ", b"Transfer-Encoding: chunked\r\n")),
}
