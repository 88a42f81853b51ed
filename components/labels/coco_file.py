"""Labels of any format written as an annotation file in COCO's, which everything else reads."""

import itertools
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
from typing import Any

import orjson

from components.labels.label_sets import LabelSet
from components.storage.files import new_file
from components.storage.image_store import ImageStore, read_with_retries
from pix2seq_model.data.annotations import LABEL_PROBLEM
from pix2seq_model.data.formats.labelled_image import LabelledBox, LabelledImage
from pix2seq_model.data.image_check import ImageDefect, upright_size

_READING_THREADS = 16
_READ_AHEAD = 128


def write_coco_file(
    labels: LabelSet, split: str, *, store: ImageStore, output: str, name: str
) -> str:
    """Writes the labels of a split, a row after the other; boxes are never all in memory.

    What cannot be used is a row as well, with the reason, so that the conversion counts it.

    Args:
      labels: of the data set.
      split: to write.
      store: its images, which are opened where labels are fractions of their sides.
      output: a folder, local or `gs://`.
      name: of the file in it.

    Returns:
      The file's path.
    """
    numbers: dict[str, Any] = {label: number for number, label in labels.class_names.items()}
    ids: dict[str, int] = {}
    num_images = num_boxes = 0
    with tempfile.TemporaryFile() as rows, new_file(output, name) as file:
        file.write(b'{"images": [')
        for image in _with_sizes(labels.read(split), store):
            known = ids.get(image.file_name) if labels.repeats_images else None
            number = known or num_images + 1
            if not known:
                ids[image.file_name] = num_images = number
                file.write(_line(_image_row(image, number), is_first=number == 1))
            for box in image.boxes:
                num_boxes += 1
                # A class that the format does not list has its name for an id: what id it gets must
                # not depend on which split has a box of it.
                category = numbers.setdefault(box.label, box.label) if box.label else None
                row = _box_row(image, box, category)
                row |= {"id": num_boxes, "image_id": number}
                rows.write(_line(row, is_first=num_boxes == 1))
        file.write(b'\n], "annotations": [')
        rows.seek(0)
        shutil.copyfileobj(rows, file)
        categories = [{"id": numbers[label], "name": label} for label in _in_order(numbers)]
        file.write(b'\n], "categories": ' + orjson.dumps(categories) + b"}\n")
    return f"{output}/{name}"


def _in_order(numbers: Mapping[str, Any]) -> list[str]:
    """The names by their numbers, or in order where they have none."""
    return sorted(numbers, key=lambda label: (isinstance(numbers[label], str), numbers[label]))


def _line(row: dict[str, Any], *, is_first: bool) -> bytes:
    return (b"\n" if is_first else b",\n") + orjson.dumps(row)


def _image_row(image: LabelledImage, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"id": number, "file_name": image.file_name}
    if image.problem:
        return {**row, LABEL_PROBLEM: image.problem}
    return {**row, "width": image.width, "height": image.height}


def _box_row(image: LabelledImage, box: LabelledBox, category: int | str | None) -> dict[str, Any]:
    row = {"category_id": category, "iscrowd": int(box.is_crowd)}
    problem = box.problem
    if image.in_fractions and not image.width:
        problem = problem or "its place is a fraction of an image whose size cannot be read"
    if problem:
        return {**row, LABEL_PROBLEM: f"{image.file_name}: {problem}"}
    x1, y1, x2, y2 = box.corners
    if image.in_fractions:
        x1, y1, x2, y2 = (
            x1 * image.width, y1 * image.height, x2 * image.width, y2 * image.height
        )  # fmt: skip
    width, height = x2 - x1, y2 - y1
    return {**row, "bbox": [x1, y1, width, height], "area": max(width, 0) * max(height, 0)}


def _with_sizes(images: Iterable[LabelledImage], store: ImageStore) -> Iterator[LabelledImage]:
    """Reads the sizes that fractions need from the image files, several at a time."""
    waiting = iter(images)
    with futures.ThreadPoolExecutor(_READING_THREADS) as threads:
        while some := list(itertools.islice(waiting, _READ_AHEAD)):
            yield from threads.map(_with_size, some, itertools.repeat(store))


def _with_size(image: LabelledImage, store: ImageStore) -> LabelledImage:
    if not image.in_fractions or image.width or not image.boxes:
        return image
    location = store.locate(image.file_name).location
    if not location:
        return image  # The conversion counts it as missing.
    try:
        height, width = upright_size(read_with_retries(store, location.path))
    except (ImageDefect, FileNotFoundError, zipfile.BadZipFile):
        return image  # And finds this again.
    return image._replace(height=height, width=width)
