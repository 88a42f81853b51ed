"""What is checked before the Beam job starts: the things that make a whole run pointless."""

import dataclasses
import itertools

from components.conversion.options import ConversionOptions, SplitSource
from components.labels.layout import coco_file
from components.storage.files import (
    begin_run,
    check_output_name,
    file_exists,
    folder_exists,
    open_unpacked,
    refusing,
)
from components.storage.image_store import TAR_SUFFIXES, open_store
from pix2seq_model.data import manifest as dataset_info
from pix2seq_model.data.annotations import check_start, parse_image_row
from pix2seq_model.data.json_arrays import read_array
from pix2seq_model.errors import DataError
from pix2seq_model.regular_file import irregular_kind

_IMAGES_TRIED = 40


def _check_annotations(split: str, path: str) -> None:
    if not file_exists(path):
        raise DataError(f"annotation file of split {split!r} does not exist: {path}")
    with refusing(f"{path} cannot be read; if it is damaged, download or export it again"):
        if kind := irregular_kind(path):
            raise DataError(f"{path} {kind}; give the JSON file of split {split!r}")
        with open_unpacked(path) as file:
            start = file.read(64)
    check_start(start, path=path)


def _check_images(split: str, options: ConversionOptions) -> None:
    source = options.splits[split]
    if not file_exists(source.images) and not folder_exists(source.images):
        raise DataError(f"folder of images of split {split!r} does not exist: {source.images}")
    if source.images.endswith(TAR_SUFFIXES):
        raise DataError(
            f"{source.images} is a tar archive, which cannot be read in place; unpack it with "
            "`python pipelines/unpack_archives.py`"
        )
    with refusing(f"{source.images} is not a zip archive that can be read"):
        store = open_store(source.images)
    unreadable = refusing(
        f"{source.annotations} cannot be read; if it is damaged, download or export it again"
    )
    with unreadable, open_unpacked(source.annotations) as file:
        rows = read_array(file, "images", path=source.annotations)
        first = [parse_image_row(raw, 0) for raw in itertools.islice(rows, _IMAGES_TRIED)]
    names = [row.file_name for row in first if not row.problem]
    # In a bucket all files are only listed here if none is where its name says.
    if any(map(store.locate_by_path, names)):
        return
    found = []
    for name in names:
        found.append(store.locate(name, split=split, splits=[*options.splits]))
        if found[-1].location:
            return
    if found:
        raise DataError(
            f"{source.images} has none of the first {len(found)} images of {source.annotations}: "
            f"{found[0].rule}: {found[0].detail}; give the folder (or zip archive) from which a "
            "file_name leads to its file"
        )


def prepare_conversion(options: ConversionOptions, output: str) -> ConversionOptions:
    """Checks what can be checked at once, and removes an old manifest.

    Labels of other formats than COCO's are written as such files, into `labels` in the output.

    Returns:
      The options with all splits in COCO's format.

    Raises:
      DataError: a file or folder is missing or is not what it should be, or `output` cannot be
        written.
    """
    output = output.rstrip("/")
    check_output_name(output)
    # Files may have come since an earlier conversion in this process listed them.
    open_store.cache_clear()
    splits = {
        split: SplitSource(
            images=source.images, annotations=coco_file(source, split, output=output)
        )
        for split, source in options.splits.items()
    }
    options = dataclasses.replace(options, splits=splits)
    for split, source in options.splits.items():
        _check_annotations(split, source.annotations)
        _check_images(split, options)
    # The old data set ends here: its shards are about to be replaced.
    begin_run(output, manifest=dataset_info.FILE_NAME)
    return options
