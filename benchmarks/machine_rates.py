"""What a machine can do at best, measured next to a benchmark, to hold its figures against.

On the backend that Keras uses.
"""

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

# Dense bfloat16 products, TFLOP/s, as the makers state them.
PEAK_TFLOPS = {
    "a100": 312.0,
    "h100": 989.4,
    "h200": 989.4,
    "l4": 121.0,
    "tpu-v4": 275.0,
    "tpu-v5e": 197.0,
    "tpu-v5p": 459.0,
}
# Sides of the matrices, and elements of the array that is copied.
_SIDE, _SIDE_ON_A_PROCESSOR = 8192, 2048
_COPIED, _COPIED_ON_A_PROCESSOR = 1 << 30, 1 << 26
_REPEATS = 10


def peak_of(device_name: str) -> float | None:
    """The maker's peak of a device by its name, as "NVIDIA H100 80GB HBM3"; None if not listed."""
    words = device_name.lower().replace("-", " ").split()
    return next((peak for name, peak in PEAK_TFLOPS.items() if name in words), None)


def matrix_product_tflops(precision: str, *, side: int | None = None) -> float:
    """The rate of a product of two large square matrices, TFLOP/s.

    Args:
      precision: Keras' policy: in bfloat16 for "mixed_bfloat16" and "bfloat16".
      side: rows and columns; None takes some that keep the machine busy.
    """
    side = side or (_SIDE if _has_accelerator() else _SIDE_ON_A_PROCESSOR)
    dtype = "bfloat16" if precision.endswith("bfloat16") else "float32"
    drawn = np.random.default_rng(0).random((side, side), np.float32)
    matrix = keras.ops.convert_to_tensor(drawn, dtype=dtype)
    seconds = seconds_of(lambda x: keras.ops.matmul(x, x), matrix)
    return 2 * side**3 / seconds / 1e12


def copy_tb_per_s(*, elements: int | None = None) -> float:
    """Bytes read and written while a large array of bfloat16 numbers is copied, TB/s."""
    elements = elements or (_COPIED if _has_accelerator() else _COPIED_ON_A_PROCESSOR)
    array = keras.ops.ones((elements,), dtype="bfloat16")
    return 2 * 2 * elements / seconds_of(lambda x: x + 1, array) / 1e12


def seconds_of(function: Callable[[Any], Any], argument: Any, *, repeats: int = _REPEATS) -> float:
    """Seconds of a call of a compiled function, the mean of several in a row."""
    run = _compiled(function)
    _wait(run(argument))
    start = time.perf_counter()
    for _ in range(repeats):
        result = run(argument)
    _wait(result)
    return (time.perf_counter() - start) / repeats


def _compiled(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, autograph=False)


def _wait(result: Any) -> None:
    if keras.backend.backend() == "jax":
        result.block_until_ready()
    else:
        # Reading one number waits for all without bringing the rest over.
        keras.ops.convert_to_numpy(keras.ops.ravel(result)[:1])


def _has_accelerator() -> bool:
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import tensorflow as tf

    return any(device.device_type != "CPU" for device in tf.config.list_physical_devices())
