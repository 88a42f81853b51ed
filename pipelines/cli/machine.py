"""The machine of a training where a command is given, and with it Keras' backend."""

import os
from collections.abc import Collection, Sequence

from ml_collections import ConfigDict

from pipelines.keras_backend import keras_backend
from pix2seq_model.experiment.machines import NO_PRESET
from pix2seq_model.experiment.presets import settle_machine


def settle_on_machine(
    name: str,
    config: ConfigDict,
    overrides: Sequence[str],
    *,
    given: Collection[str],
    stages: Sequence[str],
) -> tuple[ConfigDict, list[str]]:
    """Settles what `cloud.training.preset` says, prints it, and takes JAX unless told otherwise.

    Args:
      name: of the config.
      config: as loaded so far.
      overrides: with which it is loaded.
      given: settings that the user gave.
      stages: that are trained.

    Returns:
      The config; overrides with which `load_config` gives it again.
    """
    if config.cloud.training.preset != NO_PRESET:
        # On TensorFlow attention takes several times the memory on a GPU.
        os.environ.setdefault("KERAS_BACKEND", "jax")
    config, settled, notes = settle_machine(
        name, overrides, given=given, stages=stages, backend=keras_backend()
    )
    print("".join(f"{note}\n" for note in notes), end="", flush=True)
    return config, settled
