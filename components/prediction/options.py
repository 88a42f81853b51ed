"""What a batch prediction reads and how; plain values that travel to the workers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pix2seq_model.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """A batch prediction.

    Attributes:
      model_dir: model folder.
      images: folders, patterns, image files, text files (*.txt) with a path on each line, and
        examples folders that a conversion wrote; local or gs://.
      splits: of the examples folders; all if empty.
      images_per_shard: of an output shard; a shard of records makes one shard.
      batch_size: images decoded together.
      score_threshold: detections of a lower score are left out.
      max_pixels: larger images are dropped, before they are decoded.
      precision: of the network, "float32" or "bfloat16".
      decoding: fields of `decoding.DecodeSettings`, and `seed`, that differ from what the model
        folder says.
    """

    model_dir: str
    images: tuple[str, ...]
    splits: tuple[str, ...] = ()
    images_per_shard: int = 500
    batch_size: int = 8
    score_threshold: float = 0.3
    max_pixels: int = 100_000_000
    precision: str = "float32"
    decoding: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.images:
            raise ConfigError("no images to predict on; name a folder, a pattern or a list")
        for name in ("images_per_shard", "batch_size", "max_pixels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")

    def content(self) -> dict[str, Any]:
        """The options that decide what is found in an image (not: which images, how many)."""
        return {
            "batch_size": self.batch_size,
            "score_threshold": self.score_threshold,
            "max_pixels": self.max_pixels,
            "precision": self.precision,
            "decoding": dict(self.decoding),
        }
