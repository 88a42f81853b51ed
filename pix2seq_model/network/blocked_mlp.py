"""The two dense layers of an MLP with a large middle, in blocks of tokens.

Where activations are checkpointed layer by layer, the middle of a layer's MLP is most of what its
backward pass holds: three arrays of tokens times four widths, 58 MB each for an image of 1333 px in
a ViT-L in half precision. In blocks of tokens there are those of one block: the backward pass
computes the middle again from the input, which checkpointing has it do once anyway. Results are the
same but for rounding.

Shape suffixes: B batch, L length, D width, U units of the middle, N blocks, T tokens of a block.
"""

import math
from typing import Any

from keras import ops

from pix2seq_model.network.block_scan import scan
from pix2seq_model.network.custom_gradient import with_gradient
from pix2seq_model.network.gelu import gelu, gelu_gradient

# Elements of an image's middle, from which on it is computed in blocks; and those of a block.
LARGE, OF_A_BLOCK = 2**22, 2**21


def is_large(x_BLD: Any, units: int) -> bool:
    """Whether the middle of an MLP is."""
    length = x_BLD.shape[1]
    return length is not None and length * units > LARGE


def blocked_mlp(
    x_BLD: Any, expand: tuple[Any, Any], contract: tuple[Any, Any], *, kept_BLU: Any, scale: float
) -> Any:
    """contract(dropout(gelu(expand(x)))), (B, L, D), to be differentiated once.

    Args:
      x_BLD: the input; its length is known.
      expand, contract: kernel and bias.
      kept_BLU: bool, what dropout leaves of the middle; None: nothing is dropped.
      scale: what the rest is multiplied by.
    """
    units, length = expand[0].shape[1], x_BLD.shape[1]
    blocks = math.ceil(length * units / OF_A_BLOCK)
    passes = _Passes(length, blocks, scale)
    kept = () if kept_BLU is None else (kept_BLU,)
    return with_gradient(passes.forward, passes.backward)(x_BLD, *expand, *contract, *kept)


class _Passes:
    """The two passes over the blocks."""

    def __init__(self, length: int, blocks: int, scale: float) -> None:
        self._length, self._blocks, self._scale = length, blocks, scale
        self._tokens = math.ceil(length / blocks)

    def forward(self, x_BLD, *others):
        weights, kept_BLU = others[:4], others[4:]

        def block(_, inputs):
            x_BTD, *kept = inputs
            middle = self._drop(gelu(_linear(x_BTD, *weights[:2]), training=False), kept)
            return (), (_linear(middle, *weights[2:]),)

        inputs = tuple(map(self._split, (x_BLD, *kept_BLU)))
        _, (result,) = scan(block, (), inputs, dtypes=(x_BLD.dtype,))
        return self._join(result), (x_BLD, *others)

    def backward(self, saved, gradient):
        x_BLD, *weights = saved[:5]
        expand, expand_bias, contract, _ = weights
        kept_BLU = saved[5:]

        def block(sums, inputs):
            x_BTD, gradient_BTD, *kept = inputs
            before = _linear(x_BTD, expand, expand_bias)
            middle = self._drop(gelu(before, training=False), kept)
            of_middle = self._drop(ops.matmul(gradient_BTD, ops.transpose(contract)), kept)
            of_before = gelu_gradient(before, of_middle)
            found = (
                _product_of_tokens(x_BTD, of_before),
                _sum_of_tokens(of_before),
                _product_of_tokens(middle, gradient_BTD),
                _sum_of_tokens(gradient_BTD),
            )
            of_x = ops.matmul(of_before, ops.transpose(expand))
            return tuple(a + b for a, b in zip(sums, found, strict=True)), (of_x,)

        zeros = tuple(ops.zeros(weight.shape, "float32") for weight in weights)
        inputs = tuple(map(self._split, (x_BLD, gradient, *kept_BLU)))
        sums, (of_x,) = scan(block, zeros, inputs, dtypes=(x_BLD.dtype,))
        of_weights = [ops.cast(s, w.dtype) for s, w in zip(sums, weights, strict=True)]
        return (self._join(of_x), *of_weights, *(None for _ in kept_BLU))

    def _drop(self, middle, kept):
        if not kept:
            return middle
        scaled = middle * ops.cast(self._scale, middle.dtype)
        return ops.where(kept[0], scaled, ops.zeros((), middle.dtype))

    def _split(self, x_BLD):
        """(N, B, T, D), the last block filled up with zeros."""
        missing = self._blocks * self._tokens - self._length
        if missing:
            x_BLD = ops.pad(x_BLD, ((0, 0), (0, missing), (0, 0)))
        shape = (-1, self._blocks, self._tokens, x_BLD.shape[-1])
        return ops.transpose(ops.reshape(x_BLD, shape), (1, 0, 2, 3))

    def _join(self, x_NBTD):
        """(B, L, D)."""
        shape = (-1, self._blocks * self._tokens, x_NBTD.shape[-1])
        return ops.reshape(ops.transpose(x_NBTD, (1, 0, 2, 3)), shape)[:, : self._length]


def _linear(x, kernel, bias):
    return ops.matmul(x, kernel) + bias


def _product_of_tokens(left_BTC, right_BTE):
    """(C, E) float32."""
    return ops.cast(ops.einsum("btc,bte->ce", left_BTC, right_BTE), "float32")


def _sum_of_tokens(x_BTC):
    """(C,) float32."""
    return ops.sum(ops.cast(x_BTC, "float32"), axis=(0, 1))
