"""Attention without the matrix of all logits, where there is no kernel for it.

On a GPU in half precision Keras takes cuDNN's kernel, and on a TPU its own. Elsewhere (float32,
TensorFlow, processors) the logits of an image of 640 px in a ViT-B are 123 MB a layer, and several
such matrices are kept for the backward pass. Where they would be large, queries are taken block by
block: the forward pass keeps its result and the logarithm of each row's sum, from which the
backward pass computes the block's weights again (FlashAttention, arXiv:2205.14135, algorithms 1 and
4, in blocks of queries alone). Results are the same but for rounding.

Shape suffixes: B batch, L length of the sequence that asks, M of the one that is attended to, H
heads, K channels of a head, Q queries of a block, N blocks.
"""

import math
from typing import Any

import keras
from keras import ops

from pix2seq_model.network.block_scan import scan
from pix2seq_model.network.custom_gradient import with_gradient

# Logits of an image, from which on they are taken in blocks; and those of a block.
LARGE, OF_A_BLOCK = 2**22, 2**21
# Logits of a batch that are taken at once where no gradient is asked for: none are kept, and on
# processors blocks take longer (a ViT-B of 640 px has 31 million in a layer).
AT_ONCE = 2**25
_UNSEEN = -1e9  # added to the logits of later positions


def attention(
    query_BLHK: Any, key_BMHK: Any, value_BMHK: Any, *, causal: bool = False, training: bool = False
) -> Any:
    """softmax(query key / sqrt(K)) value, (B, L, H, K)."""
    if in_blocks(query_BLHK, key_BMHK, training=training):
        attend = _blocks(query_BLHK, key_BMHK, causal=causal)
        # Without a gradient of its own where none is asked for: a SavedModel would lose it.
        forward = with_gradient(attend.forward, attend.backward) if training else attend.result
        return forward(query_BLHK, key_BMHK, value_BMHK)
    return ops.dot_product_attention(query_BLHK, key_BMHK, value_BMHK, is_causal=causal)


def in_blocks(query_BLHK: Any, key_BMHK: Any, *, training: bool = True) -> bool:
    """Whether there are so many logits, and no kernel that does without them."""
    batch, length, heads, _ = query_BLHK.shape
    memory = key_BMHK.shape[1]
    if length is None or memory is None or heads * length * memory <= LARGE:
        return False
    if not training and batch is not None and batch * heads * length * memory <= AT_ONCE:
        return False
    return not has_kernel(query_BLHK, key_BMHK)


def has_kernel(query_BLHK: Any, key_BMHK: Any) -> bool:
    """Whether Keras takes a kernel for this attention that holds no logits in memory."""
    if keras.backend.backend() != "jax":
        return False
    from keras.src.backend.jax.nn import _can_use_flash_attention

    return _can_use_flash_attention(query_BLHK, key_BMHK, key_BMHK, None)


def _blocks(query, key, *, causal) -> "_Blocks":
    length, heads, channels = query.shape[1:]
    queries = max(1, OF_A_BLOCK // (heads * key.shape[1]))
    blocks = math.ceil(length / queries)
    layout = _Layout(length=length, blocks=blocks, queries=math.ceil(length / blocks))
    return _Blocks(layout, scale=1 / math.sqrt(channels), causal=causal)


class _Layout:
    """Splits a sequence into blocks of equal length, the last one filled up with zeros."""

    def __init__(self, *, length: int, blocks: int, queries: int) -> None:
        self.length, self.blocks, self.queries = length, blocks, queries

    def split(self, x_BLHK):
        """(N, B, H, Q, K)."""
        missing = self.blocks * self.queries - self.length
        if missing:
            x_BLHK = ops.pad(x_BLHK, ((0, 0), (0, missing), (0, 0), (0, 0)))
        batch, _, heads, channels = ops.shape(x_BLHK)
        shape = (batch, self.blocks, self.queries, heads, channels)
        return ops.transpose(ops.reshape(x_BLHK, shape), (1, 0, 3, 2, 4))

    def join(self, x_NBHQK):
        """(B, L, H, K)."""
        _, batch, heads, _, channels = ops.shape(x_NBHQK)
        shape = (batch, self.blocks * self.queries, heads, channels)
        x_BLHK = ops.reshape(ops.transpose(x_NBHQK, (1, 0, 3, 2, 4)), shape)
        return x_BLHK if x_BLHK.shape[1] == self.length else x_BLHK[:, : self.length]


class _Blocks:
    """The two passes over the blocks."""

    def __init__(self, layout: _Layout, *, scale: float, causal: bool) -> None:
        self._layout, self._scale, self._causal = layout, scale, causal

    def result(self, query, key, value):
        return self.forward(query, key, value)[0]

    def forward(self, query, key, value):
        key_BHKM, value_BHMK = ops.transpose(key, (0, 2, 3, 1)), ops.transpose(value, (0, 2, 1, 3))

        def block(_, inputs):
            number, query_BHQK = inputs
            logits = self._logits(number, query_BHQK, key_BHKM)
            largest = ops.max(logits, axis=-1, keepdims=True)
            weights = ops.exp(logits - largest)
            total = ops.sum(weights, axis=-1, keepdims=True)
            summed = ops.matmul(ops.cast(weights, value.dtype), value_BHMK)
            result = ops.cast(summed, "float32") / total
            return (), (ops.cast(result, value.dtype), largest + ops.log(total))

        inputs = (self._numbers(), self._layout.split(query))
        _, (result, log_sums) = scan(block, (), inputs, dtypes=(value.dtype, "float32"))
        result = self._layout.join(result)
        return result, (query, key, value, result, log_sums)

    def backward(self, kept, gradient):
        query, key, value, result, log_sums = kept
        key_BHMK, value_BHKM = ops.transpose(key, (0, 2, 1, 3)), ops.transpose(value, (0, 2, 3, 1))
        key_BHKM = ops.transpose(key, (0, 2, 3, 1))
        product = ops.cast(gradient, "float32") * ops.cast(result, "float32")
        along = self._layout.split(ops.sum(product, axis=-1, keepdims=True))
        dtype = query.dtype

        def block(sums, inputs):
            number, query_BHQK, gradient_BHQK, along_BHQ1, log_sums_BHQ1 = inputs
            logits = self._logits(number, query_BHQK, key_BHKM)
            weights = ops.exp(logits - log_sums_BHQ1)
            of_weights = ops.cast(ops.matmul(gradient_BHQK, value_BHKM), "float32")
            of_logits = ops.cast(weights * (of_weights - along_BHQ1) * self._scale, dtype)
            of_key = _product_of_queries(of_logits, query_BHQK)
            of_value = _product_of_queries(ops.cast(weights, dtype), gradient_BHQK)
            return (sums[0] + of_key, sums[1] + of_value), (ops.matmul(of_logits, key_BHMK),)

        zeros = ops.zeros(ops.shape(key_BHMK), "float32")
        split = (self._layout.split(query), self._layout.split(gradient), along, log_sums)
        inputs = (self._numbers(), *split)
        sums, (of_query,) = scan(block, (zeros, zeros), inputs, dtypes=(dtype,))
        of_key, of_value = (ops.cast(ops.transpose(x, (0, 2, 1, 3)), dtype) for x in sums)
        return self._layout.join(of_query), of_key, of_value

    def _numbers(self):
        return ops.arange(self._layout.blocks, dtype="int32")

    def _logits(self, number, query_BHQK, key_BHKM):
        logits = ops.cast(ops.matmul(query_BHQK, key_BHKM), "float32") * self._scale
        if not self._causal:
            return logits
        queries = number * self._layout.queries + ops.arange(self._layout.queries, dtype="int32")
        memory = ops.arange(key_BHKM.shape[-1], dtype="int32")
        return logits + ops.where(memory[None] > queries[:, None], _UNSEEN, 0.0)


def _product_of_queries(left_BHQM, right_BHQK):
    """(B, H, M, K) float32: summed up over the queries of a block."""
    return ops.cast(ops.einsum("bhqm,bhqk->bhmk", left_BHQM, right_BHQK), "float32")
