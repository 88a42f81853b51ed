"""What a caller of Python may give as images: paths, files' bytes, arrays, Pillow's images."""

import dataclasses
import functools
import os
import threading
from collections.abc import Iterable, Iterator
from typing import IO, TypeAlias

import numpy as np
from etils import epath
from PIL import Image

from pix2seq_model.data.image_check import ImageDefect, upright_pixels
from pix2seq_model.data.settings import MAX_PIXELS
from pix2seq_model.errors import DataError
from pix2seq_model.prediction.image_sources import (
    ImageSource,
    find_images,
    is_pattern,
    read_file,
    unique_name,
)
from pix2seq_model.prediction.video_frames import find_videos

ImageInput: TypeAlias = str | os.PathLike | bytes | np.ndarray | Image.Image | IO[bytes]

_KINDS = "a path, the bytes of an image file, an array of uint8 or a Pillow image"
# Pillow decodes an image at its first use, which must not be two at once.
_PILLOW = threading.Lock()
_SINGLE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)


def image_inputs(
    images: ImageInput | Iterable[ImageInput], *, max_pixels: int = MAX_PIXELS
) -> Iterator[ImageSource]:
    """The images that a caller means, one after the other as they are asked for.

    Args:
      images: one image or any number of them, in any mixture:

        - a path, local or gs://: of an image file; or of a folder, zip archive or pattern
          ("photos/*.jpg"), which stands for all images in it, by name;
        - a path of a video: its frames, see `video_frames`; a pattern may have videos too, whose
          frames come after its images;
        - the bytes of an image file, or a file that is open for reading bytes;
        - an array of uint8: (height, width, 3) RGB, (height, width, 4) RGBA, or (height, width)
          grey; (N, height, width, 3) is N images;
        - a Pillow image of any mode.

      max_pixels: the frames of larger videos are not decoded; of images the detector sees to it.

    Raises:
      DataError: something else is among them, or a folder without images.
    """
    is_single = isinstance(images, _SINGLE) or hasattr(images, "read")
    if is_single or (isinstance(images, np.ndarray) and images.ndim < 4):
        images = [images]  # type: ignore[list-item]
    try:
        given = iter(images)  # type: ignore[arg-type]
    except TypeError:
        raise _refused("the image", images) from None
    number, names = 0, set[str]()
    for image in given:
        for source in _sources(image, number + 1, max_pixels):
            number += 1
            # Two folders may have files of one name, and files are written by these names.
            source = dataclasses.replace(source, name=unique_name(source.name, names))
            names.add(source.name)
            yield source


def _sources(image: object, number: int, max_pixels: int) -> Iterator[ImageSource]:
    name = f"image {number}"
    if isinstance(image, ImageSource):
        yield image
    elif isinstance(image, str | os.PathLike):
        yield from _of_path(os.fspath(image), max_pixels)
    elif isinstance(image, bytes | bytearray | memoryview):
        # Copied, as arrays are: who gives them one after the other may use one buffer for all.
        yield ImageSource(name, name, functools.partial(bytes, bytes(image)))
    elif isinstance(image, np.ndarray) and image.ndim == 4:
        for offset, one in enumerate(image):
            name = f"image {number + offset}"
            yield _of_array(name, one)
    elif isinstance(image, np.ndarray):
        yield _of_array(name, image)
    elif isinstance(image, Image.Image):
        yield ImageSource(name, name, functools.partial(_pixels_of_pillow, image))
    elif hasattr(image, "read"):
        encoded = image.read()
        if not isinstance(encoded, bytes):
            raise DataError(f"{name} is a file that is open for text: open it with mode 'rb'.")
        yield ImageSource(name, name, functools.partial(bytes, encoded))
    else:
        raise _refused(name, image)


def _of_path(place: str, max_pixels: int) -> Iterator[ImageSource]:
    others, videos = find_videos([place], cameras=False)
    path = epath.Path(place)
    is_many = place.lower().endswith(".zip") or is_pattern(place) or path.is_dir()
    if others == [place] and not is_many:
        yield ImageSource(place, place, functools.partial(read_file, path))
    elif others:
        yield from find_images(others)
    for video in videos:
        yield from video.frames(max_pixels=max_pixels)


def _of_array(name: str, image: np.ndarray) -> ImageSource:
    read = functools.partial(pixels_of_array, image.copy())
    return ImageSource(name, name, read, num_bytes=image.nbytes)


def pixels_of_array(array: np.ndarray) -> np.ndarray:
    """An array as uint8 (height, width, 3), RGB.

    Raises:
      DataError: of another type or shape.
    """
    if array.dtype != np.uint8:
        raise DataError(
            f"an array of {array.dtype}: give uint8, 0 to 255; of values from 0 to 1 that is "
            "(255 * image).round().astype('uint8')"
        )
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise DataError(
            f"an array of shape {array.shape}: give (height, width, 3) RGB, (height, width, 4) "
            "RGBA or (height, width) grey"
        )
    array = np.ascontiguousarray(array.squeeze(2) if array.shape[2:] == (1,) else array)
    return array if channels == 3 else upright_pixels(Image.fromarray(array))


def _pixels_of_pillow(image: Image.Image) -> np.ndarray:
    with _PILLOW:
        try:
            return upright_pixels(image)
        except ImageDefect as defect:
            raise DataError(defect.detail) from None


def _refused(name: str, image: object) -> DataError:
    tip = ""
    if type(image).__module__.startswith(("torch", "tensorflow", "jax")):
        tip = "; of a tensor give .numpy() of it, as height, width, channels"
    return DataError(f"{name} is of type {type(image).__name__}: give {_KINDS}{tip}.")
