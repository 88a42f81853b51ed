"""Images in, what is in them out, batch by batch: for the command and for Python alike."""

import collections
import concurrent.futures
import contextlib
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from pix2seq_model.data.image_check import ImageDefect, upright_size
from pix2seq_model.data.pixel_budget import pixel_budget
from pix2seq_model.data.settings import MAX_PIXELS
from pix2seq_model.prediction.image_sources import ImageSource
from pix2seq_model.prediction.results import Result, result_of

_THREADS = 8  # reading may wait for a network


class PreparedImage(Protocol):
    """An image that a model can take; pixels are uint8 (height, width, 3), or empty."""

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
    {category_id, bbox xywh in pixels, score} for each. With `keep_pixels` false what they
    return may be without its pixels; not of a model that `needs_pixels` to detect.
    """

    batch_size: int
    needs_pixels: bool

    @property
    def category_names(self) -> Mapping[int, str]: ...
    def prepare(self, encoded: bytes, **limits: Any) -> Any: ...
    def prepare_pixels(self, pixels: np.ndarray, *, keep_pixels: bool = True) -> Any: ...
    def detect(
        self, images: Sequence[Any], *, alone: bool = False
    ) -> list[list[dict[str, Any]]]: ...


def detect_images(
    model: ImageModel,
    sources: Iterable[ImageSource],
    *,
    score: float,
    max_pixels: int = MAX_PIXELS,
    keep_pixels: bool = True,
) -> Iterator[tuple[ImageSource, PreparedImage | None, Result]]:
    """Yields each image, in the order given, with what is found in it.

    While a batch is decoded the next one is read. The pixels of both count in the process's budget
    until the caller asks for the image after theirs.

    Args:
      model: finds the objects.
      sources: the images; read as they are asked for.
      score: least score of what is returned.
      max_pixels: larger images are errors, before they are decoded.
      keep_pixels: the caller will look at them, see `pixels_of`.

    Yields:
      The source; the image as prepared, None if it cannot be read, its pixels empty if there was
      no room for them; the result, without its pixels, with `error` if it cannot be read.
    """
    budget = pixel_budget()
    waiting = iter(sources)
    begin = list(itertools.islice(waiting, 2))
    alone, waiting = len(begin) == 1, itertools.chain(begin, waiting)
    wanted = keep_pixels or model.needs_pixels
    with _Reader(waiting, model=model, max_pixels=max_pixels, keep_pixels=wanted) as reader:
        coming = reader.start()
        while coming:
            current = coming
            # Where what is kept decoded takes its whole share, one batch follows the other.
            coming = reader.start() if budget.keeps_more else []
            images = [image.prepared for image in current if image.wait()]
            begun = time.perf_counter()
            found = iter(model.detect(images, alone=alone) if images else ())
            milliseconds = 1000 * (time.perf_counter() - begun) / max(len(images), 1)
            images.clear()
            for image in current:
                source, prepared = image.source, image.prepared
                if prepared is None:
                    yield source, None, Result(source=source.name, error=image.problem)
                else:
                    result = result_of(
                        next(found),
                        score=score,
                        categories=model.category_names,
                        source=source.name,
                        width=prepared.width,
                        height=prepared.height,
                        is_turned=prepared.is_turned,
                        milliseconds=milliseconds,
                    )
                    yield source, prepared, result
                del prepared
                image.let_go()
            coming = coming or reader.start()


class _Image:
    """An image on its way through a batch.

    Attributes:
      source: where it comes from.
      loading: prepares it.
      prepared: for the model; None if it cannot be read, or is let go of.
      problem: why it cannot be read.
    """

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self.loading: concurrent.futures.Future[Any] | None = None
        self.prepared: Any = None
        self.problem = ""
        self._kept = 0

    def keep(self, size: int, *, must: bool) -> bool:
        """Whether its pixels, `size` bytes, may stay decoded until it is let go of."""
        is_kept = pixel_budget().keep(size, must=must)
        self._kept += size * is_kept
        return is_kept

    def let_go(self) -> None:
        """Its pixels are not used any more."""
        self.prepared = self.loading = None
        pixel_budget().let_go(self._kept)
        self._kept = 0

    def wait(self) -> bool:
        """Until it is prepared, which is true, or known that it cannot be."""
        assert self.loading is not None
        try:
            self.prepared = self.loading.result()
        except (ImageDefect, OSError, ValueError) as error:
            self.problem = _reason(error)
        return not self.problem


class _Reader:
    """Prepares images in threads, batch by batch; at its end nothing of them is kept."""

    def __init__(
        self,
        sources: Iterator[ImageSource],
        *,
        model: ImageModel,
        max_pixels: int,
        keep_pixels: bool,
    ) -> None:
        self._sources, self._model = sources, model
        self._max_pixels, self._keep_pixels = max_pixels, keep_pixels
        self._pool = concurrent.futures.ThreadPoolExecutor(_THREADS)
        # Those not let go of: that in use and the next.
        self._batches: collections.deque[list[_Image]] = collections.deque(maxlen=2)

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()
        for image in itertools.chain.from_iterable(self._batches):
            image.let_go()

    def start(self) -> list[_Image]:
        """Begins to read a batch, a smaller one where sources hold more pixels than may be kept."""
        batch: list[_Image] = []
        self._batches.append(batch)
        while len(batch) < self._model.batch_size and (not batch or pixel_budget().keeps_more):
            source = next(self._sources, None)
            if source is None:
                break
            image = _Image(source)
            batch.append(image)
            image.keep(source.num_bytes, must=True)
            image.loading = self._pool.submit(self._prepare, image)
        return batch

    def _prepare(self, image: _Image) -> Any:
        content = image.source.read()
        is_kept = self._keep_pixels
        if is_kept and not image.source.num_bytes:
            size = _pixel_bytes(content, max_pixels=self._max_pixels)
            is_kept = image.keep(size, must=self._model.needs_pixels)
        return _prepare(content, self._model, max_pixels=self._max_pixels, keep_pixels=is_kept)


def prepare_source(source: ImageSource, *, model: ImageModel, max_pixels: int) -> Any:
    """Reads an image and makes it ready for a model, its pixels kept.

    Raises:
      ImageDefect, OSError, ValueError: it cannot be read.
    """
    return _prepare(source.read(), model, max_pixels=max_pixels, keep_pixels=True)


@contextlib.contextmanager
def pixels_of(
    source: ImageSource, prepared: PreparedImage, *, model: ImageModel, max_pixels: int
) -> Iterator[np.ndarray]:
    """An image's pixels, uint8 (height, width, 3); read again in the block if they were not kept.

    Raises:
      OSError: they cannot be read again.
    """
    if prepared.pixels.size:
        yield prepared.pixels
        return
    image = _Image(source)
    image.keep(prepared.height * prepared.width * 3, must=True)
    try:
        try:
            pixels = prepare_source(source, model=model, max_pixels=max_pixels).pixels
        except (ImageDefect, OSError, ValueError) as error:
            raise OSError(_reason(error)) from None
        yield pixels
    finally:
        image.let_go()


def _pixel_bytes(content: bytes | np.ndarray, *, max_pixels: int) -> int:
    if isinstance(content, np.ndarray):
        return content.nbytes
    return 3 * math.prod(upright_size(content, max_pixels=max_pixels))


def _prepare(
    content: bytes | np.ndarray, model: ImageModel, *, max_pixels: int, keep_pixels: bool
) -> Any:
    if isinstance(content, np.ndarray):
        return model.prepare_pixels(content, keep_pixels=keep_pixels)
    return model.prepare(content, max_pixels=max_pixels, keep_pixels=keep_pixels)


def _reason(error: Exception) -> str:
    """Why an image cannot be read."""
    if isinstance(error, ImageDefect):
        return error.detail
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder, no image"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
