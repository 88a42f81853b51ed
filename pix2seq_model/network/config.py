"""What a Pix2Seq network is made of, as one frozen and checked object."""

import dataclasses

from pix2seq_model.errors import ConfigError
from pix2seq_model.setting_checks import check_one_of, check_settings, setting
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT


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
# Channels of the narrowest convolutions, before the multiplier.
RESNET_WIDTH = 64
# Side in pixels of the first convolution.
RESNET_KERNEL = 7
DROP_RATES = ("drop_path", "drop_units", "drop_attention")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The architecture. Widths are channels, sizes are pixels, rates are probabilities.

    Attributes:
      backbone: "vit" (a patch convolution) or "resnet" (a convolutional network) as the stem.
      image_size: (height, width) of the padded input. The encoder's position encoding is
        computed, not learned: the same weights serve any size.
      patch_size: side of a ViT patch. Pixels at the bottom and right that fill no whole patch
        are not seen, as in the published model at 1333 px.
      resnet_depth: 50 or 101.
      resnet_variant: "standard" (output stride 32), "c4" (the last group left out, stride 16)
        or "dc5" (the last group dilated, stride 16).
      resnet_width_multiplier: factor on the channels of every convolution.
      num_encoder_layers: of the transformer that encodes the image.
      dim_encoder: its width.
      mlp_dim_encoder: the width inside its MLPs.
      num_heads_encoder: its heads of attention.
      num_decoder_layers: of the transformer that writes the sequence.
      dim_decoder: its width.
      mlp_dim_decoder: the width inside its MLPs.
      num_heads_decoder: its heads of attention.
      bridge: between encoder and decoder, "mlp", "linear_p" or "linear".
      use_class_token: puts a learned token in front of the image's positions.
      shared_embedding: the decoder's token embedding also produces the logits.
      output_bias: adds a bias to the logits.
      max_seq_len: number of the decoder's learned positions: prompt and tokens.
      attention_initializer: of the projections of attention: "published", or "glorot", each a
        plain matrix under Glorot's rule, which at the published sizes is 2 to 6 times as large.
      drop_path: rate of stochastic depth, in training only.
      drop_units: rate of dropout inside the MLPs, in training only.
      drop_attention: rate of dropout of attention weights, in training only.

    Raises:
      ConfigError: a value cannot work; the message names the field.
    """

    backbone: str = setting("vit", one_of=("vit", "resnet"))
    image_size: tuple[int, int] = setting((640, 640), at_least=1)
    patch_size: int = setting(16, at_least=1)
    resnet_depth: int = setting(50, one_of=(50, 101))
    resnet_variant: str = setting("standard", one_of=("standard", "c4", "dc5"))
    resnet_width_multiplier: float = setting(1.0, above=0)
    num_encoder_layers: int = setting(12, at_least=1)
    dim_encoder: int = setting(768, at_least=1)
    mlp_dim_encoder: int = setting(3072, at_least=1)
    num_heads_encoder: int = setting(12, at_least=1)
    num_decoder_layers: int = setting(6, at_least=1)
    dim_decoder: int = setting(512, at_least=1)
    mlp_dim_decoder: int = setting(2048, at_least=1)
    num_heads_decoder: int = setting(16, at_least=1)
    bridge: str = setting("mlp", one_of=("mlp", "linear_p", "linear"))
    use_class_token: bool = False
    shared_embedding: bool = True
    output_bias: bool = True
    max_seq_len: int = setting(512, at_least=1)
    attention_initializer: str = setting("published", one_of=("published", "glorot"))
    drop_path: float = setting(0.1, at_least=0, below=1)
    drop_units: float = setting(0.1, at_least=0, below=1)
    drop_attention: float = setting(0.0, at_least=0, below=1)

    def __post_init__(self) -> None:
        check_settings(self, "model")
        for part in ("encoder", "decoder"):
            dim, heads = getattr(self, f"dim_{part}"), getattr(self, f"num_heads_{part}")
            if dim < heads:
                raise ConfigError(
                    f"model.num_heads_{part}={heads} exceeds model.dim_{part}={dim}: every head "
                    "needs a channel."
                )
            if dim % 2:
                # The position encoding gives half the channels to the row and half to the column.
                raise ConfigError(f"model.dim_{part}={dim} must be even.")
        if self.backbone == "vit" and min(self.image_size) < self.patch_size:
            raise ConfigError(
                f"image_size={self.image_size} is smaller than model.patch_size={self.patch_size}."
            )
        if self.backbone == "resnet" and min(self.image_size) < RESNET_KERNEL:
            raise ConfigError(
                f"image_size={self.image_size} is smaller than the first convolution of "
                f"model.backbone=resnet: give at least {RESNET_KERNEL} pixels."
            )
        if self.backbone == "resnet" and int(RESNET_WIDTH * self.resnet_width_multiplier) < 1:
            raise ConfigError(
                f"model.resnet_width_multiplier={self.resnet_width_multiplier} leaves no channel "
                f"of the narrowest convolution's {RESNET_WIDTH}: give at least {1 / RESNET_WIDTH}."
            )

    @property
    def output_stride(self) -> int:
        """Pixels of the image per position of the encoder's map."""
        if self.backbone == "vit":
            return self.patch_size
        return 32 if self.resnet_variant == "standard" else 16

    def check_positions(self, name: str, max_objects: int) -> None:
        """Raises ConfigError if the decoder has too few positions for sequences of so many objects.

        Args:
          name: of the setting, for the message.
          max_objects: of a sequence.
        """
        needed = TOKENS_PER_OBJECT * max_objects
        if needed > self.max_seq_len:
            raise ConfigError(
                f"{name}={max_objects} needs {needed} positions, but model.max_seq_len="
                f"{self.max_seq_len}: set max_objects to at most "
                f"{self.max_seq_len // TOKENS_PER_OBJECT} or raise max_seq_len."
            )

    @classmethod
    def published(cls, name: str, image_size: tuple[int, int] = (640, 640)) -> "ModelConfig":
        """One of the four published architectures: resnet, resnetc, vit_b or vit_l.

        Raises:
          ConfigError: the name is none of the four.
        """
        check_one_of("published model", name, PUBLISHED_NAMES)
        return cls(image_size=image_size, **_PUBLISHED[name])

    def published_name(self) -> str | None:
        """Which published architecture this is, whatever its image size; None if none."""
        for name in PUBLISHED_NAMES:
            published = ModelConfig.published(name, self.image_size)
            in_training = {
                field: getattr(published, field) for field in ("attention_initializer", *DROP_RATES)
            }
            if dataclasses.replace(self, **in_training) == published:
                return name
        return None
