"""How a model is evaluated, and what it must reach. Needs no TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pix2seq_model.decoding.settings import SamplingSettings
from pix2seq_model.errors import ConfigError
from pix2seq_model.input_pipeline.settings import RESIZES
from pix2seq_model.metrics.coco_metrics import METRIC_KEYS
from pix2seq_model.reports.settings import NUM_PICTURES
from pix2seq_model.setting_checks import (
    MAX_SEED,
    check_one_of,
    check_range,
    check_settings,
    setting,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings(SamplingSettings):
    """How to evaluate; the fields of a config's `evaluation` section of the same names.

    Attributes:
      split: of the examples.
      batch_size: images decoded together.
      seed: of the sampled tokens.
      precision: of the network, "float32" or "bfloat16".
      resize: how images are prepared, one of `input_pipeline.settings.RESIZES`; the model folder
        takes it over, and with it prediction and the served model.
      clip_boxes: clips found boxes to the image and negative sizes to 0. False is the published
        evaluation: boxes reach into the padding, and one whose far edge lies before the near one
        keeps its negative size. Only evaluation reads it: prediction and the served model clip.
      ground_truth: COCO annotation file, local or gs://, whose annotations are the truth, as in
        published evaluation; empty: what the records hold of it, see `data.ground_truth`. The short
        evaluations while training take the records'.
      num_pictures: in the report.
      num_attention_pictures: images in the report that show what the decoder looks at.

    Raises:
      ConfigError: a value that cannot work.
    """

    split: str = "val"
    batch_size: int = setting(16, at_least=1)
    seed: int = setting(0, at_least=0, at_most=MAX_SEED)
    precision: str = setting("float32", one_of=("float32", "bfloat16"))
    resize: str = setting("antialias", one_of=RESIZES)
    clip_boxes: bool = True
    ground_truth: str = ""
    num_pictures: int = setting(NUM_PICTURES, at_least=0)
    num_attention_pictures: int = setting(2, at_least=0)

    def __post_init__(self) -> None:
        check_settings(self, "evaluation")
        if self.decoder_storage != "float32" and self.precision != "float32":
            raise ConfigError(
                f"evaluation.decoder_storage={self.decoder_storage} is for networks in float32, "
                f"and evaluation.precision={self.precision}: leave one of them at float32."
            )

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> "EvaluationSettings":
        """Takes the fields it knows from a config's `evaluation` section."""
        return cls(**{field.name: section[field.name] for field in dataclasses.fields(cls)})


# Settings that decide what a short evaluation while training measures: all but those of the report
# and of the file that published evaluation takes its truth from.
MEASURING_SETTINGS = tuple(
    field.name
    for field in dataclasses.fields(EvaluationSettings)
    if field.name not in ("ground_truth", "num_pictures", "num_attention_pictures")
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlessingSettings:
    """What a model must reach to be pushed; fields of a config's `evaluation` section too.

    Attributes:
      min_metrics: every metric named here must reach its value ...
      max_regression: ... and none named here may fall further than this below the model that was
        blessed before.

    Raises:
      ConfigError: a value that cannot work.
    """

    min_metrics: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"AP": 0.0})
    max_regression: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"AP": 0.0})

    def __post_init__(self) -> None:
        for field in ("min_metrics", "max_regression"):
            for metric, value in getattr(self, field).items():
                check_one_of(f"evaluation.{field}: metric", metric, METRIC_KEYS)
                check_range(f"evaluation.{field}.{metric}", value, 0, 1)
