"""Where the decoder looks, shown on the photograph (as in the figures of arXiv:2109.10852)."""

import numpy as np
from matplotlib import colormaps
from PIL import Image

from pix2seq_model.boxes import box_yxyx_to_xywh
from pix2seq_model.decoding.attention_maps import TOKEN_NAMES, ImageAttention, ObjectAttention
from pix2seq_model.reports import drawing

_COLORS = colormaps["inferno"]
_CELL = 180  # pixels of a picture's longer side
_PHOTOGRAPH_SHARE = 0.6  # of the light that an unattended place keeps


def object_pictures(
    photograph: Image.Image, image: ImageAttention, seen: ObjectAttention
) -> list[Image.Image]:
    """A picture for each map: brighter and coloured where the decoder looks, the box on it.

    Args:
      photograph: the image.
      image: the one that `seen` belongs to.
      seen: the object.
    """
    scale = _CELL / max(photograph.size)
    width, height = (max(1, round(side * scale)) for side in photograph.size)
    grey = photograph.resize((width, height), Image.Resampling.LANCZOS).convert("L")
    dark_HW1 = np.asarray(grey, np.float32)[..., None] * _PHOTOGRAPH_SHARE
    box = box_yxyx_to_xywh(np.array(seen.box_yxyx)) * [width, height, width, height]
    pictures = []
    for map_YX in seen.maps:
        light_HW1 = _stretched(map_YX, image, (width, height))[..., None]
        colors_HW3 = 255 * _COLORS(light_HW1[..., 0])[..., :3]
        mixed_HW3 = dark_HW1 * (1 - light_HW1) + (colors_HW3 + dark_HW1) * light_HW1
        picture = Image.fromarray(np.clip(mixed_HW3, 0, 255).astype(np.uint8))
        outline = drawing.LabelledBox(tuple(box.tolist()), "", (255, 255, 255))
        pictures.append(drawing.draw_boxes(picture, [outline]))
    return pictures


def attention_sheet(photograph: Image.Image, image: ImageAttention) -> Image.Image | None:
    """The pictures of the found objects on one sheet, a row for each; None where there is none."""
    if not image.found:
        return None
    return drawing.contact_sheet(
        [picture for seen in image.found for picture in object_pictures(photograph, image, seen)],
        captions=[
            f"{seen.name} {seen.score:.2f}: {token}"
            for seen in image.found
            for token in seen.token_names
        ],
        columns=len(TOKEN_NAMES),
        cell=_CELL,
    )


def _stretched(map_YX: np.ndarray, image: ImageAttention, size: tuple[int, int]) -> np.ndarray:
    """The map at `size` (width, height), in [0, 1], its greatest value being 1.

    The map covers the padded image; the photograph is its upper left part.
    """
    rows, columns = map_YX.shape
    height, width = image.image_size
    part = (columns * image.content_size[1] / width, rows * image.content_size[0] / height)
    whole = Image.fromarray(np.ascontiguousarray(map_YX, dtype=np.float32))
    stretched = whole.resize(size, Image.Resampling.BICUBIC, box=(0.0, 0.0, *part))
    light_HW = np.clip(np.asarray(stretched), 0, None)
    return light_HW / max(float(light_HW.max()), 1e-9)
