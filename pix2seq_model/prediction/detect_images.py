"""Images in, what is in them out, batch by batch: for the command and for Python alike."""

import concurrent.futures
import functools
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from pix2seq_model.data.image_check import ImageDefect
from pix2seq_model.data.settings import MAX_PIXELS
from pix2seq_model.prediction.image_sources import ImageSource
from pix2seq_model.prediction.results import Result, result_of

_THREADS = 8  # reading may wait for a network


class PreparedImage(Protocol):
    """An image that a model can take; pixels are uint8 (height, width, 3)."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def pixels(self) -> np.ndarray: ...
    @property
    def is_turned(self) -> bool: ...


class ImageModel(Protocol):
    """What finds objects: a model folder, a SavedModel, an exported model, any of them in tiles.

    `prepare` takes an image file and raises ImageDefect; `prepare_pixels` takes uint8 (height,
    width, 3); `detect` takes up to `batch_size` of what they return, and returns rows
    {category_id, bbox xywh in pixels, score} for each.
    """

    batch_size: int

    @property
    def category_names(self) -> Mapping[int, str]: ...
    def prepare(self, encoded: bytes, **limits: Any) -> Any: ...
    def prepare_pixels(self, pixels: np.ndarray) -> Any: ...
    def detect(
        self, images: Sequence[Any], *, alone: bool = False
    ) -> list[list[dict[str, Any]]]: ...


def detect_images(
    model: ImageModel,
    sources: Iterable[ImageSource],
    *,
    score: float,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[tuple[ImageSource, PreparedImage | None, Result]]:
    """Yields each image, in the order given, with what is found in it.

    While a batch is decoded the next one is read.

    Args:
      model: finds the objects.
      sources: the images; read as they are asked for.
      score: least score of what is returned.
      max_pixels: larger images are errors, before they are decoded.

    Yields:
      The source; the image as prepared, None if it cannot be read; the result, without its
      pixels, with `error` if it cannot be read.
    """
    waiting = iter(sources)
    begin = list(itertools.islice(waiting, 2))
    alone, waiting = len(begin) == 1, itertools.chain(begin, waiting)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        load = functools.partial(prepare_source, model=model, max_pixels=max_pixels)

        def start() -> list[tuple[ImageSource, concurrent.futures.Future]]:
            chunk = itertools.islice(waiting, model.batch_size)
            return [(source, pool.submit(load, source)) for source in chunk]

        coming = start()
        while coming:
            current, coming = coming, start()
            loaded = [(source, _outcome(future)) for source, future in current]
            images = [outcome for _, outcome in loaded if not isinstance(outcome, str)]
            begun = time.perf_counter()
            found = iter(model.detect(images, alone=alone) if images else ())
            milliseconds = 1000 * (time.perf_counter() - begun) / max(len(images), 1)
            for source, outcome in loaded:
                if isinstance(outcome, str):
                    yield source, None, Result(source=source.name, error=outcome)
                    continue
                result = result_of(
                    next(found),
                    score=score,
                    categories=model.category_names,
                    source=source.name,
                    width=outcome.width,
                    height=outcome.height,
                    is_turned=outcome.is_turned,
                    milliseconds=milliseconds,
                )
                yield source, outcome, result


def prepare_source(source: ImageSource, *, model: ImageModel, max_pixels: int) -> Any:
    """Reads an image and makes it ready for a model.

    Raises:
      ImageDefect, OSError, ValueError: it cannot be read.
    """
    content = source.read()
    if isinstance(content, np.ndarray):
        return model.prepare_pixels(content)
    return model.prepare(content, max_pixels=max_pixels)


def _outcome(future: concurrent.futures.Future) -> Any:
    """The prepared image, or why there is none."""
    try:
        return future.result()
    except ImageDefect as defect:
        return defect.detail
    except FileNotFoundError:
        return "no such file"
    except IsADirectoryError:
        return "a folder, no image"
    except (OSError, ValueError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
