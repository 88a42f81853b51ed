"""The accelerators of this machine: that Keras' backend gets them, and that they are there.

What imports this needs Keras anyway; the backends are imported when they are asked.
"""

import dataclasses
import os
import re
import warnings

import keras

from pix2seq_model.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Devices:
    """What Keras' backend computes on in this process.

    Attributes:
      platform: "cpu", "gpu" or "tpu".
      kind: the maker's name of one, as "NVIDIA H100 80GB HBM3".
      count: how many.
      compute_capability: NVIDIA's, as (9, 0); None of all else.
    """

    platform: str
    kind: str
    count: int
    compute_capability: tuple[int, int] | None = None

    def text(self) -> str:
        """In words, as "2 x NVIDIA L4"."""
        if self.platform == "cpu":
            return "the processor"
        return f"{self.count} x {self.kind}"


def local_devices() -> Devices:
    """The accelerators that Keras' backend sees in this process, or the processor."""
    if keras.backend.backend() == "jax":
        import jax

        found = jax.local_devices()
        platform = "gpu" if found[0].platform in ("cuda", "rocm") else found[0].platform
        # Of NVIDIA's; other makers' are names.
        numbers = re.fullmatch(r"(\d+)\.(\d+)", str(getattr(found[0], "compute_capability", "")))
        capability = (int(numbers[1]), int(numbers[2])) if numbers else None
        return Devices(platform, found[0].device_kind, len(found), capability)
    import tensorflow as tf

    for platform in ("GPU", "TPU"):
        listed = tf.config.list_physical_devices(platform)
        if listed:
            details = tf.config.experimental.get_device_details(listed[0])
            kind = details.get("device_name", platform)
            return Devices(platform.lower(), kind, len(listed), details.get("compute_capability"))
    return Devices("cpu", "cpu", 1)


def leave_to_backend() -> None:
    """Hides GPUs from TensorFlow where another backend computes.

    TensorFlow reads images and records in every process, and whatever it computes first would take
    all memory of the GPUs that it sees.
    """
    if keras.backend.backend() == "tensorflow":
        return
    import tensorflow as tf

    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:  # Only where this process has computed with them already.
        warnings.warn(
            f"TensorFlow holds the GPUs of this process, and {keras.backend.backend()} gets what "
            "memory is left: start another process, or use TensorFlow after the model is loaded.",
            stacklevel=2,
        )


def computes_on_processor() -> bool:
    """Whether Keras' backend has no GPU or TPU to compute on."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "cpu"
    import tensorflow as tf

    return all(device.device_type == "CPU" for device in tf.config.get_visible_devices())


def check_accelerators(expected: int) -> None:
    """Compares the GPUs or TPUs that Keras' backend sees in this process with what was promised.

    Raises:
      ConfigError: it sees another number. Without GPUs it would compute on the processor, for
        weeks, on a machine that is paid for its GPUs.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        seen = [str(device) for device in jax.local_devices() if device.platform != "cpu"]
    else:
        import tensorflow as tf

        devices = tf.config.list_physical_devices()
        seen = [device.name for device in devices if device.device_type != "CPU"]
    if len(seen) != expected:
        raise ConfigError(
            f"accelerator_count={expected} of this machine in the config's cloud section, and "
            f"{backend} sees {len(seen)}: {', '.join(seen) or 'the processor alone'}. Build the "
            "image with DEVICE=cuda (for TPUs DEVICE=tpu); if it was, the driver's libcuda.so.1 is "
            f"not found in LD_LIBRARY_PATH={os.environ.get('LD_LIBRARY_PATH', '')} (on Vertex AI "
            "it is in /usr/local/nvidia/lib64), or is too old for the image's CUDA."
        )
