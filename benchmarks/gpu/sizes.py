"""How large the parts of `gpu.sh` are: as published, or tiny, to be tried on a processor."""

import dataclasses

from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.training.settings import TrainingRun

STAGE = "finetune"


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that is trained with synthetic batches.

    Attributes:
      name: in the tables.
      config: its config.
      overrides: of it.
    """

    name: str
    config: str
    overrides: tuple[str, ...]

    def run(self) -> TrainingRun:
        config = load_config(self.config, [*self.overrides], stage=STAGE)
        return training_run(config, STAGE)


@dataclasses.dataclass(frozen=True)
class AttentionShape:
    """Attention of one layer; lengths are positions."""

    name: str
    batch_size: int
    length: int
    attended_length: int
    heads: int
    channels: int
    causal: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is measured.

    Attributes:
      networks: that take training steps.
      steps: of the plain loop.
      steps_per_log: of the real loop, which takes twice as many; the second half counts.
      product_side, copied_elements: of the machine's own rates.
      decoder: the network that decodes.
      decode_batches: images at once.
      decode_objects: of a sequence.
      attention: shapes of it.
    """

    networks: tuple[Network, ...]
    steps: int
    steps_per_log: int
    product_side: int
    copied_elements: int
    decoder: Network
    decode_batches: tuple[int, ...]
    decode_objects: int
    attention: tuple[AttentionShape, ...]


def _published(name: str, batch_size: int) -> Network:
    overrides = (f"{STAGE}.batch_size={batch_size}", f"{STAGE}.precision=mixed_bfloat16")
    return Network(name, f"configs/coco_finetune.py:{name},640", overrides)


_VIT_B = _published("vit_b", 32)
FULL = Sizes(
    networks=(_VIT_B, _published("vit_l", 16), _published("resnet", 32)),
    steps=30,
    steps_per_log=40,
    product_side=8192,
    copied_elements=1 << 30,
    decoder=_VIT_B,
    decode_batches=(1, 8, 32, 128),
    decode_objects=100,
    attention=(
        AttentionShape("ViT-B encoder", 16, 1600, 1600, 12, 64),
        AttentionShape("decoder, causal", 16, 500, 500, 16, 32, causal=True),
        AttentionShape("decoder to image", 16, 500, 1600, 16, 32),
        AttentionShape("ViT-L encoder", 8, 1600, 1600, 16, 64),
    ),
)
_TINY = Network(
    "tiny",
    "configs/demo.py",
    (
        *("model.backbone=vit", "model.num_encoder_layers=1", "model.num_decoder_layers=1"),
        *(f"{STAGE}.image_size=(32,32)", f"{STAGE}.batch_size=2", f"{STAGE}.warmup_steps=0"),
        *(f"{STAGE}.sequence.max_objects=2", f"{STAGE}.precision=mixed_bfloat16"),
    ),
)
TINY = Sizes(
    networks=(_TINY,),
    steps=2,
    steps_per_log=2,
    product_side=64,
    copied_elements=1 << 10,
    decoder=_TINY,
    decode_batches=(1, 2),
    decode_objects=2,
    attention=(AttentionShape("causal", 1, 8, 8, 2, 8, causal=True),),
)
