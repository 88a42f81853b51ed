"""The machine that a benchmark runs on, whichever the backend."""

import os
import platform
import resource

import keras

_CPU = f"cpu, {platform.machine()}, {os.cpu_count()} cores"


def device_name() -> str:
    """The first accelerator, or the processor and its cores."""
    if keras.backend.backend() == "jax":
        import jax

        kind = jax.devices()[0].device_kind
        return _CPU if kind == "cpu" else kind
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return _CPU


def peak_memory() -> float:
    """Bytes: of the accelerator, or of this process where there is none."""
    if keras.backend.backend() == "jax":
        import jax

        statistics = jax.devices()[0].memory_stats() or {}
        if "peak_bytes_in_use" in statistics:
            return statistics["peak_bytes_in_use"]
    else:
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
