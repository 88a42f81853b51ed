"""Flash attention next to the plain one: times, and errors against the plain one in float32."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.gpu.sizes import AttentionShape

_IMPLEMENTATIONS = {"plain": "xla", "flash": "cudnn"}
_REPEATS = 10


def compared(shape: AttentionShape) -> dict[str, Any]:
    """One shape, in bfloat16.

    Returns:
      For "plain" and "flash": `forward_ms`, `both_ms` (forward and backward), `forward_error` and
      `backward_error`, norms of the differences to float32 in norms of float32's. Or `refused`,
      why there is none on this machine.
    """
    inputs = _inputs(shape)
    reference = _both(shape, "xla")(*(part.astype(jnp.float32) for part in inputs))
    found: dict[str, Any] = {"shape": shape.name}
    for name, implementation in _IMPLEMENTATIONS.items():
        try:
            found[name] = _measured(shape, implementation, inputs, reference)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            found[name] = {"refused": str(error).splitlines()[0]}
    return found


def _measured(shape: AttentionShape, implementation: str, inputs: tuple, reference: tuple) -> dict:
    forward, both = jax.jit(_forward(shape, implementation)), _both(shape, implementation)
    output, gradients = both(*inputs)
    return {
        "forward_error": _error([output], [reference[0]]),
        "backward_error": _error(gradients, reference[1]),
        "forward_ms": _milliseconds(lambda: forward(*inputs[:3])),
        "both_ms": _milliseconds(lambda: both(*inputs)),
    }


def _forward(shape: AttentionShape, implementation: str) -> Callable:
    return functools.partial(
        jax.nn.dot_product_attention, is_causal=shape.causal, implementation=implementation
    )


def _both(shape: AttentionShape, implementation: str) -> Callable:
    """Query, key, value and the gradient of the output, to the output and their gradients."""

    def run(query, key, value, gradient):
        output, backward = jax.vjp(_forward(shape, implementation), query, key, value)
        return output, backward(gradient)

    return jax.jit(run)


def _inputs(shape: AttentionShape) -> tuple[jax.Array, ...]:
    lengths = (shape.length, shape.attended_length, shape.attended_length, shape.length)
    return tuple(
        jax.random.normal(
            jax.random.key(seed),
            (shape.batch_size, length, shape.heads, shape.channels),
            jnp.bfloat16,
        )
        for seed, length in enumerate(lengths)
    )


def _error(found: Any, expected: Any) -> float:
    """Norm of the difference in norms of what is expected, the largest of all arrays."""
    errors = []
    for one, other in zip(found, expected, strict=True):
        one, other = one.astype(jnp.float32), other.astype(jnp.float32)
        errors.append(float(jnp.linalg.norm(one - other) / jnp.linalg.norm(other)))
    return max(errors)


def _milliseconds(call: Callable[[], Any]) -> float:
    jax.block_until_ready(call())
    start = time.perf_counter()
    for _ in range(_REPEATS):
        result = call()
    jax.block_until_ready(result)
    return 1e3 * (time.perf_counter() - start) / _REPEATS
