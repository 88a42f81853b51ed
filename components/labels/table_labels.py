"""Formats with all images in one file: Open Images' tables and Label Studio's tasks."""

import contextlib
import io
import itertools
import operator
import posixpath
from collections.abc import Iterator

from components.labels.label_folder import LabelFolder, decoded, name_key
from components.labels.label_sets import SNIFFED_FILES, SPLITS, LabelSet
from components.storage.files import open_file, refusing
from components.storage.image_names import match_name, uploaded_name
from pix2seq_model.data.formats.label_studio import is_task, parse_task
from pix2seq_model.data.formats.labelled_image import LabelledImage
from pix2seq_model.data.formats.open_images import is_boxes, parse_boxes, parse_class_names
from pix2seq_model.data.json_arrays import read_array
from pix2seq_model.errors import DataError

_SNIFFED_BYTES = 1 << 16
_SNIFFED_TASKS = 20


class _Tables(LabelSet):
    """Splits are files."""

    def __init__(self, labels: LabelFolder, images: LabelFolder):
        super().__init__(labels, images)
        self._files: dict[str, list[str]] = {}
        for path in self._tables(labels):
            self._files.setdefault(labels.split_of(path), []).append(path)
        for files in self._files.values():
            if len(files) > 1:
                raise DataError(
                    f"{labels.root} has several files of labels, {files[0]} and {files[1]}, and "
                    "their names do not say which split is which: give the one to read"
                )
        self.splits = tuple(split for split in SPLITS if split in self._files)
        if self.splits and "" in self._files:
            raise DataError(
                f"{labels.root}: the name of {self._files[''][0]} says no split, and those of "
                "others do: give the file of each split"
            )

    @classmethod
    def is_in(cls, folder: LabelFolder) -> bool:
        return bool(cls._tables(folder))

    @classmethod
    def _tables(cls, folder: LabelFolder) -> list[str]:
        raise NotImplementedError

    def _path(self, split: str) -> str:
        return f"{self._labels.root}/{self._files[self._key(split)][0]}"


class OpenImagesLabels(_Tables):
    """Tables of boxes with the class codes of Open Images, and the one that names the codes."""

    format, title = "open_images", "Open Images"
    # The published tables have an image's rows together; others may not.
    repeats_images = True

    @classmethod
    def _tables(cls, folder: LabelFolder) -> list[str]:
        files = folder.with_suffix(".csv")[:SNIFFED_FILES]
        return [path for path in files if is_boxes(_first_line(folder, path))]

    def read(self, split: str) -> Iterator[LabelledImage]:
        path, names = self._path(split), self._class_names()
        with open_file(path) as file, refusing(f"{path} cannot be read as a table"):
            rows = parse_boxes(io.TextIOWrapper(file, "utf-8-sig"), names)
            for image_id, of_image in itertools.groupby(rows, operator.itemgetter(0)):
                called = self._images.nearest(self._images.images_called(image_id), "", split=split)
                # Where several are called so, the conversion says which.
                name = called[0] if len(called) == 1 else f"{image_id}.jpg"
                yield LabelledImage(name, boxes=[box for _, box in of_image], in_fractions=True)

    def _class_names(self) -> dict[str, str]:
        tables = [p for p in self._labels.with_suffix(".csv") if "class" in posixpath.basename(p)]
        if not tables:
            self._leave_out("names of the classes: no class-descriptions.csv, codes are the names")
            return {}
        with refusing(f"{self._labels.root}/{tables[0]} cannot be read as a table"):
            return parse_class_names(self._labels.text(tables[0]).splitlines())


class LabelStudioLabels(_Tables):
    """Tasks with their annotations, exported as JSON or JSON-MIN."""

    format, title = "label_studio", "Label Studio"

    @classmethod
    def _tables(cls, folder: LabelFolder) -> list[str]:
        return [p for p in folder.with_suffix(".json")[:SNIFFED_FILES] if _has_tasks(folder, p)]

    def read(self, split: str) -> Iterator[LabelledImage]:
        path = self._path(split)
        with open_file(path) as file, refusing(f"{path} cannot be read"):
            for task in read_array(file, "", path=path):
                image = parse_task(task) if isinstance(task, dict) else None
                if image is None:
                    self._leave_out("tasks that nobody has labelled yet")
                else:
                    yield image._replace(file_name=self._name(image.file_name, split))

    def _name(self, named: str, split: str) -> str:
        """The path of a task's image.

        If only the digits of an upload are too much, the conversion finds it by the rest, and sees
        whether several uploads come to one file.
        """
        index = self._images.image_index
        found = match_name(named, index, split=split, splits=self.splits).path
        name = posixpath.basename(named.replace("\\", "/"))
        is_cut = uploaded_name(name) != name and name_key(posixpath.basename(found)) != name_key(
            name
        )
        return name if found and is_cut else found or named


def _first_line(folder: LabelFolder, path: str) -> str:
    return decoded(folder.read(path, _SNIFFED_BYTES), "replace").partition("\n")[0]


def _has_tasks(folder: LabelFolder, path: str) -> bool:
    start = folder.read(path, _SNIFFED_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"["):
        return False
    tasks = read_array(io.BytesIO(start), "", path=path)
    with contextlib.suppress(DataError):  # Cut off in a task.
        if any(is_task(task) for task in itertools.islice(tasks, _SNIFFED_TASKS)):
            return True
    return b'"annotations"' in start and b'"data"' in start and b'"result"' in start
