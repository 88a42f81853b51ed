"""The folder that `predict` writes: what is in it, what of it is its own, results as they come.

<output>/predict.json        says that this command made the folder; its counts, written last
<output>/results.jsonl       a line for each image, written when it is done
<output>/detections.json     COCO results, each with its image's file name too
<output>/images.json         {"images": [{id, file_name, width, height}], "categories": [...]};
                             a frame has its video, number and seconds too
<output>/unreadable.json     [{"file", "reason"}] of what could not be read, or drawn
<output>/pictures/...        the images with boxes, names and scores
<output>/contact_sheet.jpg   the first of them on one sheet
<output>/attention/...       if asked for: what the decoder looks at for the first objects
<output>/videos/...          of videos instead of pictures: the frames with boxes as a video
<output>/labels/..., classes.txt   with the format "yolo"
<output>/detections.csv            with the format "csv"
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, TextIO

from etils import epath

from pix2seq_model.argument_names import argument
from pix2seq_model.atomic_write import PARTIAL, atomic_path, write_atomically, write_json
from pix2seq_model.data.folder_walk import (
    MADE_BY,
    PREDICT_MARKER,
    everything_below,
    is_hidden_path,
    predict_marker,
)
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.json_file import parse_json
from pix2seq_model.prediction.results import CSV_COLUMNS

FORMATS = ("coco", "yolo", "csv")
LINES = "results.jsonl"
# Lists and sheets; which of them a run may write follows from its formats, which the marker notes.
_LISTS = ("detections.json", "images.json", "unreadable.json", "contact_sheet.jpg")
_OF_FORMAT = {"yolo": "classes.txt", "csv": "detections.csv"}
_OF_IMAGE = ("id", "file_name", "width", "height", "video", "frame", "seconds")
_MOST_NAME_BYTES = 255 - len(PARTIAL)
_MOST_FOLDERS = 100  # Of an image's name: an archive's may have thousands.
_SHOWN = 3


class OutputFolder:
    """One run of the command. `check` before anything is read, `begin`, `add` ..., `finish`."""

    def __init__(
        self, place: epath.PathLike, *, formats: Sequence[str] = ("coco",), overwrite: bool = False
    ) -> None:
        """
        Args:
          place: the folder, local or gs://.
          formats: of FORMATS.
          overwrite: write among files that this command did not write; they stay, unless they are
            called alike.

        Raises:
          ConfigError: an unknown format.
        """
        if unknown := [name for name in formats if name not in FORMATS]:
            raise ConfigError(f"{argument('format', unknown[0])}: choose of {', '.join(FORMATS)}.")
        self.place = epath.Path(place)
        self._formats, self._overwrite = tuple(formats), overwrite
        self._lines: TextIO | None = None
        self._closing = contextlib.ExitStack()

    def check(self, inputs: Iterable[str] = ()) -> None:
        """Makes the folder, if it can be written and what is in it may be replaced.

        Args:
          inputs: paths of what is to be read.

        Raises:
          DataError: it cannot be written, or holds what this command did not write, hidden files
            aside; or an input is what an earlier run wrote there, which `begin` removes.
        """
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            probe = self.place / f"{PARTIAL}{PREDICT_MARKER}"
            probe.write_text("")
            probe.unlink(missing_ok=True)  # Another run may look at the same moment.
        except OSError as error:
            raise DataError(
                f"output folder {self.place} cannot be written: {error.strerror or error}; give "
                "another one"
            ) from None
        own = self._own_files()
        self._refuse_inputs(inputs, own)
        if self._overwrite:
            return
        strangers = [
            name
            for name in _files_below(self.place)
            if name not in own and not is_hidden_path(name)
        ]
        if strangers:
            shown = ", ".join(sorted(strangers)[:_SHOWN])
            number = f"{len(strangers):,} file{'s' * (len(strangers) != 1)}"
            raise DataError(
                f"output folder {self.place} holds {number} that this command did not write "
                f"({shown}): give another folder, or --overwrite to write among them"
            )

    def _refuse_inputs(self, inputs: Iterable[str], own: set[str]) -> None:
        removed = {_identity(os.fspath(self.place / name)) for name in own} - {None}
        for path in inputs if removed else ():
            if _identity(path) in removed:
                raise DataError(
                    f"{path} was written by an earlier run to {self.place}, and what that wrote is "
                    "removed first: give another output folder, or copy the file out of it"
                )

    def begin(self, **facts: Any) -> None:
        """Removes what an earlier run wrote, and says whose the folder is.

        Args:
          **facts: to note, such as the model.
        """
        own = self._own_files()
        # What says whose files they are goes last: a run that is killed here leaves that.
        for name in sorted(own, key=(LINES, PREDICT_MARKER).__contains__):
            (self.place / name).unlink(missing_ok=True)
        self._facts = {"made_by": MADE_BY, "formats": list(self._formats), **facts}
        facts = self._facts
        write_json(self.place / PREDICT_MARKER, {**facts, "complete": False}, indent=1)
        # In a bucket the file is there only inside of `with`.
        self._lines = self._closing.enter_context((self.place / LINES).open("w"))

    def add(self, line: dict[str, Any]) -> None:
        """Writes the line of an image, before its `files`: no file is there that no line names.

        Raises:
          DataError: a number in it is not finite, which JSON does not know.
        """
        assert self._lines is not None
        try:
            # In ASCII: a file's name need not be text that can be written.
            text = json.dumps(line, allow_nan=False)
        except ValueError:
            image = line.get("file_name") or line.get("location") or "an image"
            raise DataError(
                f"what the model found in {image!a} has a number that is not finite (NaN or "
                "Infinity): its weights are damaged or its training diverged; use another model"
            ) from None
        self._lines.write(text + "\n")
        self._lines.flush()

    def path_of(self, folder: str, name: str, suffix: str) -> str:
        """Where a file of an image goes, relative to the output folder.

        A name that is too long for a file is shortened, with a digest of the whole in it, and so
        are more folders than one path may have.
        """
        parts = [_short(part, "") for part in PurePosixPath(name).parts if part != "/"]
        if len(parts) > _MOST_FOLDERS:
            parts = [_digest("/".join(parts[:-1]).encode("utf-8", "surrogateescape")), parts[-1]]
        return str(PurePosixPath(folder, *parts[:-1], _short(PurePosixPath(name).name, suffix)))

    def write(self, relative: str, content: bytes | str) -> None:
        """Writes a file of an image."""
        write_atomically(self.place / relative, content)

    def finish(self, categories: dict[int, str], **facts: Any) -> None:
        """Writes the lists of what the lines say, whether all images are done or not.

        Raises:
          DataError: a line is damaged; names it. The lists would lack its image.
        """
        self._closing.close()
        images, failed = [], []
        with atomic_path(self.place / "detections.json") as local, local.open("w") as file:
            separator = "["
            for line in self._read_lines():
                if "error" in line:
                    failed.append({"file": line["location"], "reason": line["error"]})
                if "id" in line:
                    images.append({key: line[key] for key in _OF_IMAGE if key in line})
                for row in line.get("detections", ()):
                    file.write(f"{separator}{json.dumps(row)}")
                    separator = ",\n"
            file.write("[]" if separator == "[" else "]")
        rows = [{"id": number, "name": name} for number, name in sorted(categories.items())]
        write_json(self.place / "images.json", {"images": images, "categories": rows})
        write_json(self.place / "unreadable.json", failed)
        if "csv" in self._formats:
            self._write_table()
        if "yolo" in self._formats:
            names = "".join(f"{row['name']}\n" for row in rows)
            write_atomically(self.place / "classes.txt", names)
        write_json(self.place / PREDICT_MARKER, {**self._facts, **facts}, indent=1)

    def _write_table(self) -> None:
        with (
            atomic_path(self.place / "detections.csv") as local,
            local.open("w", encoding="utf-8", errors="surrogateescape") as file,
        ):
            file.write(",".join(CSV_COLUMNS) + "\n")
            for line in self._read_lines():
                file.write(line.get("csv", ""))

    @property
    def formats(self) -> tuple[str, ...]:
        return self._formats

    def _read_lines(self, *, skip_damaged: bool = False) -> Iterator[dict[str, Any]]:
        path = self.place / LINES
        if not path.exists():
            return
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                try:
                    yield parse_json(
                        text,
                        source=f"{path}, line {number},",
                        fix="run the same command again, with --overwrite",
                        kind=dict,
                        surrogates=True,
                    )
                except DataError:
                    # The last line of a run that was killed has no end.
                    if text.endswith(b"\n") and not skip_damaged:
                        raise

    def _own_files(self) -> set[str]:
        """What an earlier run wrote, by its own account; none where no run was."""
        marker = predict_marker(self.place)
        if marker is None:
            return set()
        # The files of a damaged line are then no one's, and stay.
        lines = self._read_lines(skip_damaged=True)
        files = {name for line in lines for name in line.get("files", ())}
        of_formats = {_OF_FORMAT[name] for name in marker["formats"] if name in _OF_FORMAT}
        return {PREDICT_MARKER, LINES, *_LISTS, *of_formats, *filter(_is_below, files)}


def is_of_predict(folder: epath.Path) -> bool:
    """Whether this command wrote a folder, by its own account."""
    return predict_marker(folder) is not None


def _identity(path: str) -> object:
    """What two paths of one file have in common; None if there is no file."""
    if "://" in path:
        return path
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _is_below(relative: str) -> bool:
    path = PurePosixPath(relative)
    return not path.is_absolute() and ".." not in path.parts


def _files_below(folder: epath.Path) -> Iterator[str]:
    if "://" not in os.fspath(folder):
        yield from everything_below(os.fspath(folder))
        return
    for root, _, names in folder.walk():
        for name in names:
            yield str((root / name).relative_to(folder))


def _short(name: str, suffix: str) -> str:
    encoded = name.encode("utf-8", "surrogateescape")
    room = _MOST_NAME_BYTES - len(suffix)
    if len(encoded) <= room:
        return name + suffix
    return f"{encoded[: room - 13].decode('utf-8', 'ignore')}-{_digest(encoded)}{suffix}"


def _digest(name: bytes) -> str:
    return hashlib.sha256(name).hexdigest()[:12]
