"""The products of a decoding step: of one new token with weights, and with cached keys and values.

A step reads every weight of the decoder and every cached key and value once. On a processor that
takes as long as its memory takes to deliver them, so `HalfProducts` stores them in half as many
bytes.

Shape suffixes: B batch, D and U widths, H heads, K channels of a head, R = B * H rows, M positions
that are attended to, T positions of the cache of tokens, Y layers, P parts, G positions of a part.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from pix2seq_model.network.slice_update import is_without_xla, slice_update

# Terms that are added in one pass. More would make partial sums smaller, but their places lie a
# power of two apart and crowd each other out of the first-level cache: for ViT-B at 640 px a token
# took 7 ms with 4, 7.5 with 8, 12 with 16, 31 with 32.
_PARTS = 4


class Products:
    """As the layers compute: in the network's own precision.

    Keys are (R, K, M) and values (R, M, K). B * H rows, which is how the products take them: with
    another shape XLA would update a second copy of the whole cache for them in every step.
    """

    def __init__(self, *, stack_layers: bool = False) -> None:
        """
        Args:
          stack_layers: keep the tokens' keys, and values, of all layers in one array, which is
            written once in a step. That is fewer kernels on an accelerator; on a processor XLA
            would copy each layer's part out of it.
        """
        self._stack_layers = stack_layers

    def in_step(self, cache_index: Any, cross_kv_cache: Any) -> tuple["Products", Any]:
        """Itself and the image's keys and values, to be used within the step at `cache_index`."""
        return self, cross_kv_cache

    def dense(self, layer: keras.layers.Dense, x_BD: Any) -> Any:
        """A dense layer, (B, U)."""
        return layer(x_BD)

    def logits(self, x_BD: Any, output_DV: Any) -> Any:
        """Logits without their bias, (B, V)."""
        return ops.matmul(x_BD, output_DV)

    def store_keys(self, key_BMHK: Any) -> Any:
        _, length, _, channels = key_BMHK.shape
        return ops.reshape(ops.transpose(key_BMHK, (0, 2, 3, 1)), (-1, channels, length))

    def store_values(self, value_BMHK: Any) -> Any:
        _, length, _, channels = value_BMHK.shape
        return ops.reshape(ops.transpose(value_BMHK, (0, 2, 1, 3)), (-1, length, channels))

    def with_keys(self, query_RK: Any, keys: Any) -> Any:
        """The products of one query of each row with all keys, (R, M)."""
        return ops.matmul(query_RK[:, None], keys)[:, 0]

    def with_values(self, weights_RM: Any, values: Any) -> Any:
        """The sum of the values, each times its weight, (R, K)."""
        return ops.matmul(ops.cast(weights_RM, values.dtype)[:, None], values)[:, 0]

    def empty_kv_cache(
        self, layers: int, *, rows: Any, channels: int, length: int, dtype: str
    ) -> Any:
        """Keys and values of `length` tokens of every layer, all 0."""
        keys_shape, values_shape = (rows, channels, length), (rows, length, channels)
        if self._stack_layers:
            shapes = ((layers, *keys_shape), (layers, *values_shape))
            return tuple(ops.zeros(shape, dtype=dtype) for shape in shapes)
        return [
            (ops.zeros(keys_shape, dtype=dtype), ops.zeros(values_shape, dtype=dtype))
            for _ in range(layers)
        ]

    def layer_kv_cache(self, kv_cache: Any, layer: int) -> tuple[Any, Any]:
        """The keys and values of one layer's tokens; the keys' last axis are positions."""
        if self._stack_layers:
            keys, values = kv_cache
            return keys[layer], values[layer]
        return kv_cache[layer]

    def write(self, kv_cache: Any, cache_index: Any, new: Sequence[tuple[Any, Any]]) -> Any:
        """`kv_cache` with the (R, K) keys and values of a token in every layer."""
        if self._stack_layers:
            (keys, values), (key_YRK, value_YRK) = kv_cache, map(ops.stack, zip(*new, strict=True))
            return (
                slice_update(keys, (0, 0, 0, cache_index), key_YRK[..., None]),
                slice_update(values, (0, 0, cache_index, 0), value_YRK[:, :, None]),
            )
        return [
            (
                slice_update(keys, (0, 0, cache_index), key_RK[..., None]),
                slice_update(values, (0, cache_index, 0), value_RK[:, None]),
            )
            for (keys, values), (key_RK, value_RK) in zip(kv_cache, new, strict=True)
        ]


class RoundedProducts(Products):
    """Weights, keys and values rounded to float16, products in float32: the numbers of
    `HalfProducts` wherever those cannot be had, in the network's own time.
    """

    def __init__(
        self, layers: Iterable[keras.layers.Dense], output_DV: Any, *, stack_layers: bool = False
    ) -> None:
        super().__init__(stack_layers=stack_layers)
        self._biases = {id(layer): layer.bias for layer in layers}
        kernels = {id(layer): ops.convert_to_tensor(layer.kernel) for layer in layers}
        self._kernels = {key: self._stored(kernel) for key, kernel in kernels.items()}
        self._output = self._stored(output_DV)

    def _stored(self, kernel_DU: Any) -> Any:
        return _rounded(kernel_DU)

    def _product(self, x_BD: Any, stored: Any) -> Any:
        return ops.matmul(x_BD, stored)

    def dense(self, layer: keras.layers.Dense, x_BD: Any) -> Any:
        return self._product(x_BD, self._kernels[id(layer)]) + self._biases[id(layer)]

    def logits(self, x_BD: Any, output_DV: Any) -> Any:
        return self._product(x_BD, self._output)

    def store_keys(self, key_BMHK: Any) -> Any:
        return _rounded(super().store_keys(key_BMHK))

    def store_values(self, value_BMHK: Any) -> Any:
        return _rounded(super().store_values(value_BMHK))

    def write(self, kv_cache: Any, cache_index: Any, new: Sequence[tuple[Any, Any]]) -> Any:
        rounded = [(_rounded(key), _rounded(value)) for key, value in new]
        return super().write(kv_cache, cache_index, rounded)


class HalfProducts(RoundedProducts):
    """Weights, keys and values stored as float16 and read once, for XLA on a processor.

    XLA has no product of a float32 vector with a float16 matrix: it would convert the matrix first
    and write it to memory as float32, before the loop if it can. What it does well is one pass over
    arrays of equal shape. So the summed axis is cut into P parts, and the P terms of each place are
    converted, multiplied and added in one pass, by all threads; the G sums that are left are small.
    Processors convert float16 by an instruction of their own (F16C), and it rounds eight times as
    finely as bfloat16.

    For more than one image the weights are float32 again, rounded: then each is used several times,
    and the products of matrices are the faster ones. Keys are (P, G, R, M), the channels in parts;
    values (M, R, K), with M filled up to a multiple of P.
    """

    def __init__(
        self, layers: Iterable[keras.layers.Dense], output_DV: Any, *, batch_size: int | None
    ) -> None:
        self._one_row = batch_size == 1
        super().__init__(list(layers), output_DV)

    def in_step(self, cache_index: Any, cross_kv_cache: Any) -> tuple["Products", Any]:
        # As part of the step and not of what is the same in all steps: else XLA converts it all
        # before the loop, and each step reads float32 again.
        flat = [array for pair in cross_kv_cache for array in pair]
        products = copy.copy(self)
        if self._one_row:
            kernels = [*self._kernels.values(), self._output]
            *kernels, products._output = _opaque(kernels, cache_index)
            products._kernels = dict(zip(self._kernels, kernels, strict=True))
        flat = _opaque(flat, cache_index)
        return products, list(zip(flat[::2], flat[1::2], strict=True))

    def _stored(self, kernel_DU: Any) -> Any:
        half_DU = _half(kernel_DU)
        if self._one_row:
            return _in_parts(half_DU)
        # Else XLA leaves out the rounding, as excess precision.
        (half_DU,) = _opaque([half_DU], ops.convert_to_tensor(0, dtype="int32"))
        return ops.cast(half_DU, "float32")

    def _product(self, x_BD: Any, stored: Any) -> Any:
        if not self._one_row:
            return super()._product(x_BD, stored)
        return _sum_of_products(_in_parts(ops.transpose(x_BD)), stored)[None]

    def store_keys(self, key_BMHK: Any) -> Any:
        _, length, _, channels = key_BMHK.shape
        key_KBHM = ops.transpose(key_BMHK, (3, 0, 2, 1))
        return _in_parts(_half(ops.reshape(key_KBHM, (channels, -1, length))))

    def store_values(self, value_BMHK: Any) -> Any:
        _, length, _, channels = value_BMHK.shape
        value_MBHK = ops.transpose(value_BMHK, (1, 0, 2, 3))
        return _filled_up(_half(ops.reshape(value_MBHK, (length, -1, channels))))

    def with_keys(self, query_RK: Any, keys: Any) -> Any:
        return _sum_of_products(_in_parts(ops.transpose(query_RK)[..., None]), keys)

    def with_values(self, weights_RM: Any, values: Any) -> Any:
        return _sum_of_products(_in_parts(ops.transpose(weights_RM)[..., None]), _in_parts(values))

    def empty_kv_cache(
        self, layers: int, *, rows: Any, channels: int, length: int, dtype: str
    ) -> Any:
        keys = _in_parts(ops.zeros((channels, rows, length), dtype="float16"))
        values = _filled_up(ops.zeros((length, rows, channels), dtype="float16"))
        return [(keys, values) for _ in range(layers)]

    def write(self, kv_cache: Any, cache_index: Any, new: Sequence[tuple[Any, Any]]) -> Any:
        written = []
        for (keys, values), (key_RK, value_RK) in zip(kv_cache, new, strict=True):
            key_PGR1 = _in_parts(_half(ops.transpose(key_RK)))[..., None]
            written.append(
                (
                    slice_update(keys, (0, 0, 0, cache_index), key_PGR1),
                    slice_update(values, (cache_index, 0, 0), _half(value_RK)[None]),
                )
            )
        return written


def half_products(
    layers: Iterable[keras.layers.Dense],
    output_DV: Any,
    *,
    batch_size: Any,
    on_processor: bool,
) -> RoundedProducts:
    """Those that are the fastest here; both kinds find the same, up to the rounding of float32.

    Args:
      layers: the dense layers that a step uses.
      output_DV: the output embedding.
      batch_size: number of images, a tensor if it is not known yet.
      on_processor: whether a processor computes, not an accelerator.
    """
    if on_processor and not is_without_xla():
        known = batch_size if isinstance(batch_size, int) else None
        return HalfProducts(layers, output_DV, batch_size=known)
    return RoundedProducts(list(layers), output_DV, stack_layers=not on_processor)


def _half(array: Any) -> Any:
    # Beyond float16's range lies infinity; no trained weight or key comes near it.
    return ops.cast(ops.clip(array, -65504.0, 65504.0), "float16")


def _rounded(array: Any) -> Any:
    return ops.cast(_half(array), "float32")


def _filled_up(array: Any) -> Any:
    """Zeros behind the first axis, up to a multiple of P."""
    missing = -array.shape[0] % _PARTS
    return ops.pad(array, [(0, missing), *[(0, 0)] * (len(array.shape) - 1)]) if missing else array


def _in_parts(array: Any) -> Any:
    """(P * G, ...) to (P, G, ...), filled up with zeros."""
    filled = _filled_up(array)
    return ops.reshape(filled, (_PARTS, filled.shape[0] // _PARTS, *_rest_of_shape(filled)))


def _rest_of_shape(array: Any) -> tuple[Any, ...]:
    return tuple(ops.shape(array)[1:])


def _sum_of_products(factors: Any, stored: Any) -> Any:
    """The sum over the first two axes, P and G, of float32 factors times float16 numbers.

    The factors are as long along the other axes, or 1. A vector's factors, (P, G, 1), are those of
    a whole row.
    """
    terms = (factors[part] * ops.cast(stored[part], "float32") for part in range(_PARTS))
    total = next(terms)
    for term in terms:
        total = total + term
    return ops.sum(total, axis=0)


def _opaque(arrays: list[Any], index: Any) -> list[Any]:
    """The same arrays, but for the compiler: to it they may depend on `index`."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return list(jax.lax.optimization_barrier((*arrays, index))[:-1])
    from tensorflow.compiler.tf2xla.python import xla

    return list(xla.optimization_barrier(*arrays, index)[:-1])
