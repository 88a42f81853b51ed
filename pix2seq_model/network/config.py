"""What a Pix2Seq network is made of, as one frozen and checked object."""

import dataclasses
import json

from pix2seq_model.errors import ConfigError


def _architecture(
    backbone: str, *, encoder: tuple, decoder: tuple, resnet_variant: str = "standard"
) -> dict:
    """Fields of an architecture; encoder and decoder are (layers, width, MLP width, heads)."""
    fields = {"backbone": backbone, "resnet_variant": resnet_variant}
    for part, sizes in (("encoder", encoder), ("decoder", decoder)):
        names = (f"num_{part}_layers", f"dim_{part}", f"mlp_dim_{part}", f"num_heads_{part}")
        fields.update(zip(names, sizes, strict=True))
    return fields


# The published checkpoints' architectures (arXiv:2109.10852).
_PUBLISHED = {
    "resnet": _architecture("resnet", encoder=(6, 256, 1024, 8), decoder=(6, 256, 1024, 8)),
    "resnetc": _architecture(
        "resnet", encoder=(12, 512, 2048, 16), decoder=(8, 512, 2048, 16), resnet_variant="c4"
    ),
    "vit_b": _architecture("vit", encoder=(12, 768, 3072, 12), decoder=(6, 512, 2048, 16)),
    "vit_l": _architecture("vit", encoder=(24, 1024, 4096, 16), decoder=(8, 512, 2048, 16)),
}
PUBLISHED_NAMES = tuple(_PUBLISHED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The architecture. Widths are channels, sizes are pixels, rates are probabilities.

    Attributes:
      backbone: "vit" (a patch convolution) or "resnet" (a convolutional network) as the stem.
      image_size: (height, width) of the padded input. The position codes of the encoder are
        computed, not learned: the same weights serve any size.
      patch_size: side of a ViT patch. Pixels at the bottom and right that fill no whole patch
        are not seen, as in the published model at 1333 px.
      resnet_depth: 50 or 101.
      resnet_variant: "standard" (output stride 32), "c4" (the last group left out, stride 16)
        or "dc5" (the last group dilated, stride 16).
      resnet_width_multiplier: factor on the channels of every convolution.
      num_encoder_layers, dim_encoder, mlp_dim_encoder, num_heads_encoder: transformer encoder.
      num_decoder_layers, dim_decoder, mlp_dim_decoder, num_heads_decoder: transformer decoder.
      bridge: between encoder and decoder, "mlp", "linear_p" or "linear".
      use_class_token: puts a learned token in front of the image's positions.
      shared_embedding: the decoder's token embedding also produces the logits.
      output_bias: adds a bias to the logits.
      max_seq_len: number of the decoder's learned positions: prompt and tokens.
      drop_path, drop_units, drop_attention: stochastic depth, dropout inside the MLPs,
        dropout of attention weights; all in training only.

    Raises:
      ConfigError: a value cannot work; the message names the field.
    """

    backbone: str = "vit"
    image_size: tuple[int, int] = (640, 640)
    patch_size: int = 16
    resnet_depth: int = 50
    resnet_variant: str = "standard"
    resnet_width_multiplier: float = 1.0
    num_encoder_layers: int = 12
    dim_encoder: int = 768
    mlp_dim_encoder: int = 3072
    num_heads_encoder: int = 12
    num_decoder_layers: int = 6
    dim_decoder: int = 512
    mlp_dim_decoder: int = 2048
    num_heads_decoder: int = 16
    bridge: str = "mlp"
    use_class_token: bool = False
    shared_embedding: bool = True
    output_bias: bool = True
    max_seq_len: int = 512
    drop_path: float = 0.1
    drop_units: float = 0.1
    drop_attention: float = 0.0

    def __post_init__(self) -> None:
        # JSON and ConfigDict hand over lists.
        object.__setattr__(self, "image_size", tuple(int(side) for side in self.image_size))
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ConfigError(f"image_size={self.image_size}: give (height, width) in pixels.")
        _one_of("backbone", self.backbone, ("vit", "resnet"))
        _one_of("resnet_depth", self.resnet_depth, (50, 101))
        _one_of("resnet_variant", self.resnet_variant, ("standard", "c4", "dc5"))
        _one_of("bridge", self.bridge, ("mlp", "linear_p", "linear"))
        for name in (
            *("num_encoder_layers", "dim_encoder", "mlp_dim_encoder", "num_heads_encoder"),
            *("num_decoder_layers", "dim_decoder", "mlp_dim_decoder", "num_heads_decoder"),
            *("patch_size", "max_seq_len"),
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name}={getattr(self, name)} must be at least 1.")
        if self.resnet_width_multiplier <= 0:
            raise ConfigError(
                f"model.resnet_width_multiplier={self.resnet_width_multiplier} must be positive."
            )
        for part in ("encoder", "decoder"):
            dim, heads = getattr(self, f"dim_{part}"), getattr(self, f"num_heads_{part}")
            if dim < heads:
                raise ConfigError(
                    f"model.num_heads_{part}={heads} exceeds model.dim_{part}={dim}: every head "
                    "needs a channel."
                )
            if dim % 2:
                # The position codes give half the channels to the row and half to the column.
                raise ConfigError(f"model.dim_{part}={dim} must be even.")
        for name in ("drop_path", "drop_units", "drop_attention"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name}={getattr(self, name)} must lie in [0, 1).")
        if self.backbone == "vit" and min(self.image_size) < self.patch_size:
            raise ConfigError(
                f"image_size={self.image_size} is smaller than model.patch_size={self.patch_size}."
            )

    @property
    def output_stride(self) -> int:
        """Pixels of the image per position of the encoder's map."""
        if self.backbone == "vit":
            return self.patch_size
        return 32 if self.resnet_variant == "standard" else 16

    @classmethod
    def published(cls, name: str, image_size: tuple[int, int] = (640, 640)) -> "ModelConfig":
        """One of the four published architectures: resnet, resnetc, vit_b or vit_l.

        Raises:
          ConfigError: the name is none of the four.
        """
        _one_of("published model", name, PUBLISHED_NAMES)
        return cls(image_size=image_size, **_PUBLISHED[name])

    def published_name(self) -> str | None:
        """Which published architecture this is, whatever its image size; None if none."""
        for name in PUBLISHED_NAMES:
            published = ModelConfig.published(name, self.image_size)
            regular = {
                field: getattr(published, field)
                for field in ("drop_path", "drop_units", "drop_attention")
            }
            if dataclasses.replace(self, **regular) == published:
                return name
        return None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_dict(cls, fields: dict, *, source: str = "model") -> "ModelConfig":
        """Builds from a dictionary.

        Raises:
          ConfigError: a field is unknown or a value cannot work; names `source`.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
        if unknown:
            raise ConfigError(f"{source}: unknown fields {unknown}; known are {sorted(known)}.")
        return cls(**fields)


def _one_of(name: str, value, allowed: tuple) -> None:
    if value not in allowed:
        raise ConfigError(f"{name}={value!r} is none of {', '.join(map(repr, allowed))}.")
