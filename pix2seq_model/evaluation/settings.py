"""How a model is evaluated. Needs no TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How to evaluate; the fields of a config's `evaluation` section of the same names.

    Attributes:
      split: of the examples.
      batch_size: images decoded together.
      max_objects, top_k, top_p, temperature, end_token_offset: see `decoding.DecodeSettings`.
      seed: of the sampled tokens.
      precision: of the network, "float32" or "bfloat16".
      num_pictures: in the report.
      num_attention_pictures: images in the report that show what the decoder looks at.
    """

    split: str = "val"
    batch_size: int = 16
    max_objects: int = 100
    top_k: int = 0
    top_p: float = 0.4
    temperature: float = 1.0
    end_token_offset: float = 0.0
    seed: int = 0
    precision: str = "float32"
    num_pictures: int = 24
    num_attention_pictures: int = 2

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> "EvaluationSettings":
        """Takes the fields it knows from a config's `evaluation` section."""
        return cls(**{field.name: section[field.name] for field in dataclasses.fields(cls)})

    def decoding(self) -> dict[str, Any]:
        """The arguments for `decoding.generate`."""
        names = ("max_objects", "top_k", "top_p", "temperature", "end_token_offset")
        return {name: getattr(self, name) for name in names}
