"""What a batch prediction reads and how; plain values that travel to the workers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pix2seq_model.data.settings import MAX_PIXELS
from pix2seq_model.decoding.settings import BATCH_SIZE
from pix2seq_model.errors import ConfigError
from pix2seq_model.input_pipeline.settings import RESIZES
from pix2seq_model.model_folder.thresholds import DEFAULT_SCORE
from pix2seq_model.setting_checks import check_settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """A batch prediction.

    Attributes:
      model_dir: model folder.
      images: folders, patterns, zip archives, image files, text files (*.txt) with a path on each
        line, and examples folders that a conversion wrote; local or gs://.
      splits: of the examples folders; all if empty.
      images_per_shard: of an output shard; a shard of records makes one shard.
      batch_size: images decoded together.
      score_threshold: detections of a lower score are left out.
      max_pixels: larger images are dropped, before they are decoded.
      precision: of the network, "float32" or "bfloat16".
      resize: how images are prepared, one of `input_pipeline.settings.RESIZES`; empty: as the model
        folder says.
      clip_boxes: see `decoding.detector.Detector`.
      decoding: fields of `decoding.DecodeSettings`, and `seed`, that differ from what the model
        folder says.
    """

    model_dir: str
    images: tuple[str, ...]
    splits: tuple[str, ...] = ()
    images_per_shard: int = setting(500, at_least=1)
    batch_size: int = setting(BATCH_SIZE, at_least=1)
    score_threshold: float = DEFAULT_SCORE
    max_pixels: int = setting(MAX_PIXELS, at_least=1)
    precision: str = "float32"
    resize: str = setting("", one_of=("", *RESIZES))
    clip_boxes: bool = True
    decoding: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.images:
            raise ConfigError("no images to predict on; name a folder, a pattern or a list")

    def content(self) -> dict[str, Any]:
        """The options that decide what is found in an image (not: which images, how many)."""
        names = ("batch_size", "score_threshold", "max_pixels", "precision", "resize", "clip_boxes")
        return {**{name: getattr(self, name) for name in names}, "decoding": dict(self.decoding)}
