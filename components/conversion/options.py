"""What a conversion reads and how; plain values that travel to the workers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pix2seq_model.data.defects import DefectLimits
from pix2seq_model.data.settings import (
    ALL_SPLITS,
    COCO_FORMAT,
    LABEL_FORMATS,
    MAX_PIXELS,
    MAX_SHARDS,
)
from pix2seq_model.errors import ConfigError
from pix2seq_model.setting_checks import check_settings, setting

AUTOMATIC = 0
_OF_CONTENT = ("seed", "check_pixels", "max_pixels", "drop_fake", "drop_reflected")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitSource:
    """Where a split comes from.

    Attributes:
      images: folder of images, or a zip archive of them, which is read in place.
      annotations: JSON file in COCO's format; of another format a folder, or a file.
      format: "coco_format", or one of `LABEL_FORMATS`.
    """

    images: str
    annotations: str
    format: str = COCO_FORMAT


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """A conversion.

    Attributes:
      name: of the data set, for people; in the manifest.
      splits: split name to its source.
      seed: orders the images over the shards and the objects inside each image.
      num_shards: split name to number of shards; 0 or absent chooses them near `shard_bytes`.
      shard_bytes: wanted size of a shard.
      check_pixels: decode every image wholly, to find damage behind the header.
      max_pixels: larger images are dropped, before they are decoded.
      drop_fake, drop_reflected: drop Objects365's pictures of objects, mirrored objects.
      max_category_id: of the vocabulary; where an id is higher, categories are numbered from 1.
        None keeps every id.
      limits: how much may be dropped before the conversion fails.
    """

    name: str
    splits: Mapping[str, SplitSource]
    seed: int = 0
    num_shards: Mapping[str, int] = dataclasses.field(default_factory=dict)
    shard_bytes: int = setting(128_000_000, at_least=1)
    check_pixels: bool = False
    max_pixels: int = setting(MAX_PIXELS, at_least=1)
    drop_fake: bool = False
    drop_reflected: bool = False
    max_category_id: int | None = None
    limits: DefectLimits = dataclasses.field(default_factory=DefectLimits)

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.splits:
            raise ConfigError("no split to convert; give at least one annotation file")
        for split in self.splits:
            if not split.isidentifier():
                raise ConfigError(f"split name {split!r} is not a plain word such as 'train'")
        for split, count in self.num_shards.items():
            if split not in self.splits:
                raise ConfigError(
                    f"num_shards names split {split!r}; there are {sorted(self.splits)}"
                )
            if not 0 <= count <= MAX_SHARDS:
                raise ConfigError(
                    f"num_shards of {split!r} is {count}; give 1 to {MAX_SHARDS}, or 0"
                )

    def content(self) -> dict[str, Any]:
        """The options that decide what is in a record (not: how many, where from, limits)."""
        return {name: getattr(self, name) for name in _OF_CONTENT}


def conversion_options(source: dict[str, Any], *, name: str, seed: int) -> ConversionOptions:
    """What to convert, from a `data` section of the config.

    Args:
      source: the section, with the `max_category_id` of the config's vocabulary.
      name: of the data set, for people.
      seed: see `ConversionOptions`.
    """
    own = source["format"] if source.get("format") in LABEL_FORMATS else COCO_FORMAT
    splits = {
        split: SplitSource(images=source["images"][split], annotations=annotations, format=own)
        for split, annotations in source["annotations"].items()
        if annotations and split != ALL_SPLITS
    }
    limit = source["max_defect_fraction"]
    return ConversionOptions(
        name=name,
        splits=splits,
        seed=seed,
        num_shards={split: source["num_shards"].get(split, 0) for split in splits},
        limits=DefectLimits(max_dropped_images=limit, max_dropped_annotations=limit),
        **{name: source[name] for name in (*_OF_CONTENT, "max_category_id") if name in source},
    )
