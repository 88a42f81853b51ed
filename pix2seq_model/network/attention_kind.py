"""Which attention the network trains with on a device, and why no other.

`keras.ops.dot_product_attention` chooses by itself and says nothing. These are its rules, and those
of cuDNN that it asks for (jax._src.cudnn.fused_attention_stablehlo), in words.
"""

import dataclasses

from pix2seq_model.accelerators import Devices
from pix2seq_model.network.blocked_attention import LARGE
from pix2seq_model.network.config import ModelConfig

_AMPERE, _HOPPER = (8, 0), (9, 0)


@dataclasses.dataclass(frozen=True)
class AttentionKind:
    """An implementation of attention.

    Attributes:
      name: in words.
      is_flash: whether it never holds the weights of all pairs of positions.
      reason: why it is not flash attention; empty where it is.
    """

    name: str
    is_flash: bool
    reason: str = ""

    def text(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


def attention_kind(
    config: ModelConfig, *, backend: str, devices: Devices, precision: str
) -> AttentionKind:
    """The attention that training uses.

    Args:
      config: the architecture: channels of a head, dropout of attention weights.
      backend: of Keras, "jax" or "tensorflow".
      devices: that it computes on.
      precision: Keras' policy.
    """
    if config.drop_attention:
        reason = f"model.drop_attention={config.drop_attention:g} drops single weights"
        name = "plain, which keeps the weights of all pairs of positions"
        return AttentionKind(name, False, reason)
    if devices.platform == "cpu":
        return _plain("a processor has no flash attention")
    if backend != "jax":
        return _plain(f"Keras has flash attention on JAX, not on {backend}: KERAS_BACKEND=jax")
    if devices.platform == "tpu":
        # Never run on one: whether its splash kernel takes these heads shows only there.
        return AttentionKind(
            "what Keras finds on a TPU", False, "its splash kernel if that takes the heads"
        )
    if precision == "float32":
        return _plain("cuDNN's flash attention takes bfloat16, not float32")
    capability = devices.compute_capability
    if capability is None:
        return _plain(f"cuDNN's flash attention needs an NVIDIA GPU, not {devices.kind}")
    if capability < _AMPERE:
        return _plain(
            f"cuDNN's flash attention needs compute capability 8.0 ({devices.kind} is "
            f"{capability[0]}.{capability[1]})"
        )
    widest = 256 if capability >= _HOPPER else 128
    for part in ("encoder", "decoder"):
        channels = getattr(config, f"dim_{part}") // getattr(config, f"num_heads_{part}")
        if channels % 8 or channels > widest:
            return _plain(
                f"cuDNN's flash attention takes heads of at most {widest} channels, a multiple of "
                f"8; model.dim_{part} / model.num_heads_{part} is {channels}"
            )
    return AttentionKind("cuDNN's flash attention", True)


def _plain(reason: str) -> AttentionKind:
    name = f"plain, and in blocks of queries where an image has over {LARGE:,} logits in all heads"
    return AttentionKind(name, False, reason)
