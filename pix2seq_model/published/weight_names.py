"""Where each weight of the network is in a published checkpoint.

Weights are looked up by the names of the published objects' attributes, from the root on. Where
this network keeps projections of one input as one matrix, several published weights make one.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import keras
import numpy as np

# Our path of layers -> theirs, applied in this order to the path of a weight without its last name.
_LAYERS = (
    (r"^encoder/stem/convolution", "encoder/stem_conv"),
    (r"^encoder/stem/projection", "encoder/stem_projection"),
    (r"^encoder/stem/norm", "encoder/stem_ln"),
    (r"^encoder/stem/first/convolution", "encoder/resnet/initial_conv_relu_max_pool/0/conv2d"),
    (r"^encoder/stem/first/norm", "encoder/resnet/initial_conv_relu_max_pool/2/bn"),
    (r"^encoder/stem/group(\d)_block(\d+)", r"encoder/resnet/block_groups/\1/layers/\2"),
    (r"^(.*/layers/\d+)/shortcut/convolution", r"\1/projection_layers/0/conv2d"),
    (r"^(.*/layers/\d+)/shortcut/norm", r"\1/projection_layers/1/bn"),
    (r"^(.*/layers/\d+)/reduce/convolution", r"\1/conv_relu_dropblock_layers/0/conv2d"),
    (r"^(.*/layers/\d+)/reduce/norm", r"\1/conv_relu_dropblock_layers/1/bn"),
    (r"^(.*/layers/\d+)/spatial/convolution", r"\1/conv_relu_dropblock_layers/3/conv2d"),
    (r"^(.*/layers/\d+)/spatial/norm", r"\1/conv_relu_dropblock_layers/4/bn"),
    (r"^(.*/layers/\d+)/expand/convolution", r"\1/conv_relu_dropblock_layers/6/conv2d"),
    (r"^(.*/layers/\d+)/expand/norm", r"\1/conv_relu_dropblock_layers/7/bn"),
    (r"^encoder/layer(\d+)", r"encoder/transformer_encoder/enc_layers/\1"),
    (r"^decoder/layer(\d+)", r"decoder/decoder/dec_layers/\1"),
    (r"^(encoder|decoder)/norm", r"\1/output_ln"),
    (r"^bridge/projection", "proj"),
    (r"^bridge/norm", "proj_ln"),
    (r"^bridge/mlp", "proj_mlp"),
    (r"mlp/norm$", "mlp/layernorms/0"),
    (r"mlp/expand$", "mlp/mlp_layers/0/dense1"),
    (r"mlp/contract$", "mlp/mlp_layers/0/dense2"),
    (r"(enc_layers/\d+)/norm$", r"\1/mha_ln"),
    (r"(enc_layers/\d+)/attention/", r"\1/mha/"),
    (r"(dec_layers/\d+)/(self|cross)_norm$", r"\1/\2_ln"),
    (r"(dec_layers/\d+)/(self|cross)_attention/", r"\1/\2_mha/"),
)
_PROJECTIONS: Mapping[str, tuple[str, ...]] = {
    "query_key_value": ("_query_dense", "_key_dense", "_value_dense"),
    "query": ("_query_dense",),
    "key_value": ("_key_dense", "_value_dense"),
}
# Weights that a layer made itself go by its attribute's name or by the weight's own.
_OWN_WEIGHTS = {
    "encoder/class_token": ("cls_token_emb", "cls_token_embedding"),
    "decoder/position_embedding": ("seq_pos_emb", "seq_pos_embedding"),
    "decoder/output_bias": ("outp_bias",),
    "decoder/token_embedding": ("token_embedding",),
}
_OWN_WEIGHTS_NOT_SHARED = {
    **_OWN_WEIGHTS,
    "decoder/token_embedding": ("inp_token_embedding",),
    "decoder/output_embedding": ("outp_token_embedding",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedSource:
    """What one weight of the network is made of.

    Attributes:
      weights: for every published weight it takes, the paths it may have, from the root.
      shape: of each published weight.
      ours: shape of our weight.
    """

    weights: tuple[tuple[tuple[str, ...], ...], ...]
    shape: tuple[int, ...]
    ours: tuple[int, ...]

    def assemble(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """From their values to ours: they are next to each other in the last axis."""
        return np.concatenate([v.reshape(*self.ours[:-1], -1) for v in values], axis=-1)


def published_source(
    weight: keras.Variable, *, num_heads: int, shared_embedding: bool
) -> PublishedSource:
    """Where a weight comes from.

    Args:
      weight: of the network.
      num_heads: of the part, encoder or decoder, it belongs to.
      shared_embedding: whether input and output tokens share their embedding.
    """
    shape = tuple(weight.shape)
    path = weight.path.split("/", 1)[1]  # Without the network's own name.
    own = (_OWN_WEIGHTS if shared_embedding else _OWN_WEIGHTS_NOT_SHARED).get(path)
    if own is not None:
        part = path.split("/")[0]
        places = tuple(("model", part, name) for name in own)
        return PublishedSource(weights=(places,), shape=shape, ours=shape)
    layer, name = path.rsplit("/", 1)
    for pattern, replacement in _LAYERS:
        layer = re.sub(pattern, replacement, layer)
    *parents, last = layer.split("/")
    published, parts = shape, _PROJECTIONS.get(last, (last,))
    if last in _PROJECTIONS:
        published = (*shape[:-1], num_heads, shape[-1] // len(parts) // num_heads)
    elif last == "output_projection":
        parts = ("_output_dense",)
        if name == "kernel":
            published = (num_heads, shape[0] // num_heads, *shape[1:])
    weights = tuple((("model", *parents, part, name),) for part in parts)
    return PublishedSource(weights=weights, shape=published, ours=shape)
