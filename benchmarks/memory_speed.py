"""How fast this machine's memory delivers, by itself and to a product of a vector with matrices."""

import concurrent.futures
import os
import time
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from pix2seq_model.decoding.jit import compiled

_BYTES = 256 << 20  # of each array; larger than any cache
_REPEATS = 5
_PASSES = 5  # over the matrices in one call


def memory_speed(network: keras.Model) -> dict[str, float]:
    """Bytes a second, in GB; the fastest of some repeats.

    Args:
      network: any; its backend is what compiles the products.

    Returns:
      copy: by numpy with a thread for each core, bytes read and written; read: of the greatest
      value of an array, likewise; matrix_vector: of float32 matrices that XLA multiplies a vector
      with, one after the other.
    """
    cores = len(os.sched_getaffinity(0))
    source, target = (np.ones(_BYTES // 4, np.float32) for _ in range(2))
    pairs = list(zip(np.array_split(source, cores), np.array_split(target, cores), strict=True))
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        copy = _fastest(lambda: list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs)))
        read = _fastest(lambda: list(pool.map(lambda pair: pair[0].max(), pairs)))
    matrices = np.full((_BYTES >> 22, 1024, 1024), 1e-3, np.float32)

    def products(vector_1D, *matrices):
        def one_pass(_, vector_1D):
            for matrix in matrices:
                vector_1D = ops.matmul(vector_1D, matrix)
            return vector_1D

        return ops.fori_loop(0, _PASSES, one_pass, vector_1D)

    run = compiled(products, network)
    arguments = [ops.convert_to_tensor(matrix) for matrix in matrices]
    vector_1D = np.ones((1, 1024), np.float32)
    multiply = _fastest(lambda: ops.convert_to_numpy(run(vector_1D, *arguments)))
    return {
        "copy": 2 * _BYTES / copy / 1e9,
        "read": _BYTES / read / 1e9,
        "matrix_vector": _PASSES * _BYTES / multiply / 1e9,
    }


def _fastest(function: Callable[[], object]) -> float:
    function()
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
