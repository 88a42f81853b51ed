"""What was found in images, for the caller of Python: arrays, pictures, COCO, YOLO and CSV."""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from pix2seq_model.boxes import box_xywh_to_yxyx, box_xyxy_to_xywh
from pix2seq_model.data.image_check import ImageDefect
from pix2seq_model.errors import DataError
from pix2seq_model.reports.drawing import detection_boxes, draw_boxes

_LARGEST_ID = 2**63 - 1  # COCO's tools keep ids in 64 bits, of which one is the sign.
CSV_COLUMNS = (
    *("file_name", "image_id", "category_id", "category", "score"),
    *("xmin", "ymin", "xmax", "ymax", "width", "height"),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The objects of one image: those of `Model.predict` the most likely first.

    Attributes:
      source: path of the image; of an image in memory its place among those given, "image 3".
      width: pixels of the image that the boxes are of: turned upright, if EXIF says so.
      height: of the same image, pixels.
      boxes_xyxy: float64 (N, 4), xmin, ymin, xmax, ymax in pixels.
      scores: float64 (N,), 0 to 1.
      category_ids: int64 (N,), as in the annotations that the model was trained on.
      names: of the categories, N texts.
      milliseconds: that the model took: of its batch, divided by the images in it. The first batch
        compiles the model and takes longer.
      num_below: objects that were found with lower scores than asked for.
      best_score: of all that was found, lower scores too; None if nothing was.
      is_turned: the image was turned upright, as EXIF says.
      error: why the image could not be read; then it has no size and no objects.
    """

    source: str
    width: int = 0
    height: int = 0
    boxes_xyxy: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 4)))
    scores: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    category_ids: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    names: tuple[str, ...] = ()
    milliseconds: float = 0.0
    num_below: int = 0
    best_score: float | None = None
    is_turned: bool = False
    error: str = ""
    _pixels: Callable[[], np.ndarray] | None = dataclasses.field(default=None, repr=False)
    _pixels_again: Callable[[], np.ndarray] | None = dataclasses.field(default=None, repr=False)
    _categories: Mapping[int, str] = dataclasses.field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    def best_first(self) -> "Result":
        """The most likely objects first, without those whose box has no area and marks nothing."""
        has_area = np.all(self.boxes_xyxy[:, 2:] > self.boxes_xyxy[:, :2], axis=1)
        # Equal scores keep the model's order.
        order = np.argsort(-self.scores, kind="stable")
        order = order[has_area[order]]
        return dataclasses.replace(
            self,
            boxes_xyxy=self.boxes_xyxy[order],
            scores=self.scores[order],
            category_ids=self.category_ids[order],
            names=tuple(self.names[index] for index in order.tolist()),
        )

    def without_frame(self) -> "Result":
        """Of a video's frame: `plot` decodes it again, and it is not kept in memory until then."""
        if self._pixels_again is None:
            return self
        return dataclasses.replace(self, _pixels=self._pixels_again)

    def plot(self, *, longer_side: int | None = None) -> Image.Image:
        """The image with boxes, names and scores.

        Args:
          longer_side: of the picture in pixels; None keeps the image's size.

        Raises:
          DataError: the image could not be read, or its file is gone.
        """
        if self._pixels is None:
            raise DataError(f"{self.source}: {self.error or 'the image was not kept'}")
        try:
            image = Image.fromarray(self._pixels())
        except (OSError, ImageDefect) as error:
            raise DataError(f"{self.source} cannot be read again to be drawn: {error}") from None
        boxes = detection_boxes(self.to_coco(), dict(zip(self.category_ids.tolist(), self.names)))
        return draw_boxes(image, boxes, longer_side=longer_side)

    def to_coco(self, *, image_id: int = 1) -> list[dict[str, Any]]:
        """Rows of a COCO results file: image_id, file_name, category_id, bbox xywh, score."""
        boxes_N4 = box_xyxy_to_xywh(self.boxes_xyxy.astype(float))
        return [
            {
                "image_id": image_id,
                "file_name": self.source,
                "category_id": category_id,
                "bbox": box,
                "score": score,
            }
            for category_id, box, score in zip(
                self.category_ids.tolist(), boxes_N4.tolist(), self.scores.tolist()
            )
        ]

    def to_yolo(self) -> str:
        """A label file of YOLO: a line `class x y width height score` for each object.

        The class counts the model's categories from 0, in the order of their ids; the box's middle
        and size are parts of the image's width and height.
        """
        classes = {category_id: n for n, category_id in enumerate(sorted(self._categories))}
        lines = []
        parts_N4 = self.boxes_xyxy / np.tile([max(self.width, 1), max(self.height, 1)], 2)
        middles_N2 = (parts_N4[:, :2] + parts_N4[:, 2:]) / 2
        sizes_N2 = box_xyxy_to_xywh(parts_N4)[:, 2:]
        for category_id, middle, size, score in zip(
            self.category_ids, middles_N2.tolist(), sizes_N2.tolist(), self.scores
        ):
            numbers = " ".join(f"{value:.6f}" for value in (*middle, *size, score))
            lines.append(f"{classes[int(category_id)]} {numbers}\n")
        return "".join(lines)

    def to_csv(self, *, image_id: int = 1, header: bool = True) -> str:
        """A table with the columns `CSV_COLUMNS`, boxes in pixels, a row for each object."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if header:
            writer.writerow(CSV_COLUMNS)
        for category_id, name, score, box in zip(
            self.category_ids.tolist(), self.names, self.scores.tolist(), self.boxes_xyxy.tolist()
        ):
            size = (self.width, self.height)
            writer.writerow([self.source, image_id, category_id, name, score, *box, *size])
        return text.getvalue()


class Results(list[Result]):
    """The results of several images, in the order in which the images were given.

    Attributes:
      categories: the model's names by category id.
    """

    def __init__(self, results: Iterable[Result], *, categories: Mapping[int, str]) -> None:
        super().__init__(results)
        self.categories = dict(categories)

    @property
    def image_ids(self) -> list[int]:
        """Of each image, for COCO and CSV; see `image_numbers`."""
        return image_numbers([result.source for result in self])

    def to_coco(self) -> list[dict[str, Any]]:
        """The content of a COCO results file; each row has its image's file name too."""
        ids = self.image_ids
        return [row for r, number in zip(self, ids) for row in r.to_coco(image_id=number)]

    def to_yolo(self) -> dict[str, str]:
        """Label files of YOLO by their images' source; `class_names` says what a class is."""
        return {result.source: result.to_yolo() for result in self}

    @property
    def class_names(self) -> list[str]:
        """YOLO's classes in their order: the content of its classes.txt."""
        return [self.categories[category_id] for category_id in sorted(self.categories)]

    def to_csv(self) -> str:
        """One table of all objects; see `Result.to_csv`."""
        rows = [r.to_csv(image_id=n, header=False) for r, n in zip(self, self.image_ids)]
        return ",".join(CSV_COLUMNS) + "\n" + "".join(rows)


def result_of(
    rows: Sequence[Mapping[str, Any]], *, score: float, categories: Mapping[int, str], **fields: Any
) -> Result:
    """A result of what a model found in an image, in the model's order.

    Args:
      rows: category_id, bbox xywh in pixels, score.
      score: least score of what is kept.
      categories: names by category id.
      **fields: the other fields of `Result`.
    """
    kept = [row for row in rows if row["score"] >= score]
    boxes_xywh = np.array([row["bbox"] for row in kept], np.float64).reshape(-1, 4)
    return Result(
        boxes_xyxy=box_xywh_to_yxyx(boxes_xywh)[:, [1, 0, 3, 2]],
        scores=np.array([row["score"] for row in kept], np.float64),
        category_ids=np.array([row["category_id"] for row in kept], np.int64),
        names=tuple(categories[row["category_id"]] for row in kept),
        num_below=len(rows) - len(kept),
        best_score=max((row["score"] for row in rows), default=None),
        _categories=categories,
        **fields,
    )


def image_numbers(names: Sequence[str]) -> list[int]:
    """Ids for COCO's formats: the files' own numbers (000000397133.jpg) if all have one, else 1...

    With COCO's own file names the results can be evaluated against COCO's annotations by id. A
    number counts if it is of 64 bits and no other file has it.
    """
    stems = [PurePosixPath(name).stem for name in names]
    if all(stem.isascii() and stem.isdecimal() for stem in stems):
        numbers = [int(stem) if len(stem) < 100 else _LARGEST_ID + 1 for stem in stems]
        if len(set(numbers)) == len(numbers) and max(numbers, default=0) <= _LARGEST_ID:
            return numbers
    return list(range(1, len(names) + 1))
