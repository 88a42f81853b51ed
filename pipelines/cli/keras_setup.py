"""Keras' backend, and how much TensorFlow says, before either is imported."""

import os
import sys

from pipelines.keras_backend import keras_backend
from pix2seq_model.errors import ConfigError

BACKENDS = ("tensorflow", "jax")


def settle_keras() -> None:
    """Takes a backend that the project computes on; keeps TensorFlow's log off the terminal.

    Another one in Keras' own file is the user's for other projects: said, and not taken. How the
    file sets the numbers' type and the order of axes, the network does not read.

    Raises:
      ConfigError: KERAS_BACKEND names another one.
    """
    # Errors of CUDA that is not there are among what it says.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = keras_backend()
    if backend in BACKENDS:
        return
    if os.environ.get("KERAS_BACKEND"):
        raise ConfigError(
            f"KERAS_BACKEND={backend}: this project computes on {' or '.join(BACKENDS)}; set "
            "KERAS_BACKEND to one of them, or leave it out"
        )
    os.environ["KERAS_BACKEND"] = BACKENDS[0]
    message = f"keras.json names the backend {backend}; here Keras takes {BACKENDS[0]}"
    print(f"{message} (KERAS_BACKEND=jax: the other one)", file=sys.stderr)
