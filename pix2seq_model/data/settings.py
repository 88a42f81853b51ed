"""Where a data set is and what of it is used. Needs no TensorFlow."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from pix2seq_model.errors import ConfigError
from pix2seq_model.setting_checks import check_range, check_settings, setting

COCO_FORMAT, AUTO = "coco_format", "auto"
# Of labelling tools; written as COCO's before a conversion.
LABEL_FORMATS = ("yolo", "voc", "labelme", "open_images", "label_studio")
DATA_FORMATS = ("objects365", "coco", COCO_FORMAT, AUTO, *LABEL_FORMATS)
# The place of all splits, in which each is recognised.
ALL_SPLITS = "all"
# Share of a split's images or boxes that may be dropped before a conversion fails.
MAX_DEFECT_FRACTION = 0.05
MAX_SHARDS = 99_999
# Of an image; what is larger is left out before it is decoded.
MAX_PIXELS = 100_000_000


def _splits(value: Any) -> Any:
    return dataclasses.field(default_factory=lambda: {"train": value, "val": value})


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """One data set on disk, before conversion.

    Attributes:
      format: "objects365", "coco", "coco_format"; one of `LABEL_FORMATS`; or "auto", which is
        recognised where a run is started.
      images: folder or archive of images by split; a split is converted if both its places are
        given. "all" is the place of every split, where they are recognised.
      annotations: annotation file by split; of `LABEL_FORMATS` a folder. "all" as of images, and
        where it is empty labels are looked for among the images.
      num_shards: by split; 0 chooses it by size, about 128 MB a shard.
      max_defect_fraction: share of a split's images or boxes that may be set aside before the
        conversion fails.
      drop_fake: leave out the boxes that Objects365 marks as of pictures of objects.
      drop_reflected: leave out those that it marks as of objects in mirrors.
      check_pixels: decode every image wholly, to find damage behind its header; slower.
      max_pixels: larger images are dropped, before they are decoded.

    Raises:
      ConfigError: a value that cannot work.
    """

    format: str = setting("coco", one_of=DATA_FORMATS)
    images: Mapping[str, str] = _splits("")
    annotations: Mapping[str, str] = _splits("")
    num_shards: Mapping[str, int] = _splits(0)
    max_defect_fraction: float = setting(MAX_DEFECT_FRACTION, at_least=0, at_most=1)
    drop_fake: bool = False
    drop_reflected: bool = False
    check_pixels: bool = False
    max_pixels: int = setting(MAX_PIXELS, at_least=1)

    def __post_init__(self) -> None:
        check_settings(self)
        self._check_num_shards()
        for split in sorted({*self.images, *self.annotations, *self.num_shards}):
            if not split.isidentifier():
                raise ConfigError(f"images.{split}: a split's name is a plain word such as 'test'.")
            given = [bool(part.get(split)) for part in (self.images, self.annotations)]
            if self.format in (AUTO, *LABEL_FORMATS) and given[0]:
                continue  # Labels may lie among the images.
            if given[0] != given[1]:
                have, lack = ("images", "annotations") if given[0] else ("annotations", "images")
                raise ConfigError(f"{have}.{split} is given but {lack}.{split} is not: give both.")

    def _check_num_shards(self) -> None:
        given = {
            s for part in (self.images, self.annotations) for s, place in part.items() if place
        }
        for split, count in self.num_shards.items():
            check_range(f"num_shards.{split}", count, 0, MAX_SHARDS)
            # Until they are recognised, nobody knows the splits in the place of all.
            if count and split not in given and ALL_SPLITS not in given:
                near = difflib.get_close_matches(split, given, n=1)
                hint = (
                    f"; did you mean num_shards.{near[0]}?" if near else ": give it, or 0 shards."
                )
                raise ConfigError(f"num_shards.{split}={count}: there is no split {split!r}{hint}")
