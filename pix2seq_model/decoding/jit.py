"""Compiles a function of tensors that uses a network's weights, on the backend that runs."""

from collections.abc import Callable
from typing import Any

import keras

from pix2seq_model.accelerators import computes_on_processor


def compiled_encoder(network: keras.Model) -> Callable[[Any], Any]:
    """`network.encode` as the backend computes it fastest.

    That is compiled by XLA, but for TensorFlow on a processor: the large products that an encoder
    consists of are faster by oneDNN, which XLA does not call.
    """

    def encode(images):
        # Not the method itself, which would keep alive a network that is here a weak reference.
        return network.encode(images)

    if keras.backend.backend() == "tensorflow" and computes_on_processor():
        import tensorflow as tf

        return tf.function(encode, autograph=False, reduce_retracing=False)
    return compiled(encode, network)


def compiled(function: Callable[..., Any], network: keras.Model) -> Callable[..., Any]:
    """`function` compiled by XLA.

    Args:
      function: takes arrays, returns a structure of tensors and reads the weights of `network`,
        which it does not change.
      network: the network; its weights may change between calls.

    Returns:
      A function of the same arguments. Each new shape of an argument compiles again.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False, reduce_retracing=False)
    if backend == "jax":
        import jax

        def stateless(values, *arguments):
            with keras.StatelessScope(state_mapping=zip(network.variables, values, strict=True)):
                return function(*arguments)

        def local(value):
            # Of weights that lie on several devices, the copy on the first of this process.
            return value.addressable_data(0) if len(value.sharding.device_set) > 1 else value

        jitted = jax.jit(stateless)
        return lambda *arguments: jitted([local(v.value) for v in network.variables], *arguments)
    raise NotImplementedError(f"Pix2Seq runs on TensorFlow and JAX, not on {backend}.")
