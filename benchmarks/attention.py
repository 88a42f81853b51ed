"""Attention in blocks of queries next to attention with all logits: time, both by turns in one run.

    python benchmarks/attention.py
    KERAS_BACKEND=jax python benchmarks/attention.py --shape=1600,1600,12,64

float32, one image; a shape is queries, keys, heads and channels. Prints the shortest of the rounds,
forward alone and with the backward pass, and the ratio of blocks to the whole matrix.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
from keras import ops

from pix2seq_model.network import blocked_attention

_SHAPES = ("1600,1600,12,64", "500,1600,16,32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", action="append", help="as often as needed")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print("| backend | queries, keys, heads, channels | pass | matrix, s | blocks, s | ratio |")
    print("|---|---|---|---|---|---|")
    for shape in given.shape or _SHAPES:
        queries, keys, heads, channels = map(int, shape.split(","))
        random = np.random.default_rng(0)
        arrays = [
            ops.convert_to_tensor(random.normal(size=(1, n, heads, channels)).astype(np.float32))
            for n in (queries, keys, keys)
        ]
        for words, gradient in (("forward", False), ("both", True)):
            ways = [compiled(way, gradient=gradient) for way in (ops.dot_product_attention, blocks)]
            matrix, block = seconds(ways, arrays, rounds=given.rounds)
            cells = [keras.backend.backend(), shape, words, f"{matrix:.3f}", f"{block:.3f}"]
            print(f"| {' | '.join(cells)} | {block / matrix:.2f} |", flush=True)


def blocks(*arrays: Any) -> Any:
    assert blocked_attention.in_blocks(*arrays[:2])
    return blocked_attention.attention(*arrays, training=True)


def compiled(way: Callable[..., Any], *, gradient: bool) -> Callable[..., Any]:
    """The attention, or the gradients of its sum, as a graph of the backend (XLA on JAX)."""
    if keras.backend.backend() == "jax":
        import jax

        found = jax.grad(lambda *x: way(*x).sum(), argnums=(0, 1, 2)) if gradient else way
        return jax.jit(found)
    import tensorflow as tf

    @tf.function(autograph=False)
    def function(*arrays):
        if not gradient:
            return way(*arrays)
        with tf.GradientTape() as tape:
            tape.watch(arrays)
            total = tf.reduce_sum(way(*arrays))
        return tape.gradient(total, arrays)

    return function


def seconds(ways: list[Callable[..., Any]], arrays: list[Any], *, rounds: int) -> list[float]:
    """The shortest time of each, the first round aside."""
    best = [float("inf")] * len(ways)
    for number in range(rounds + 1):
        for index, way in enumerate(ways):
            start = time.perf_counter()
            result = way(*arrays)
            for part in result if isinstance(result, tuple | list) else [result]:
                ops.convert_to_numpy(part)
            if number:
                best[index] = min(best[index], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
