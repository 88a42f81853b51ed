"""Activation checkpointing: layers whose insides are computed again for the gradients.

Of each such layer only the input is kept from the forward pass; its activations are computed a
second time when the backward pass comes to it (arXiv:1604.06174). Memory falls to the inputs plus
one layer's activations, for about a third more computation; results are the same.
"""

from typing import Any

import keras


def recompute_activations(network: keras.Model) -> None:
    """Makes a Pix2Seq recompute its transformer layers and ResNet blocks while training."""
    for part in (network.encoder, network.encoder.stem, network.decoder):
        part.recompute = True


def run_layer(layer: keras.layers.Layer, *inputs: Any, training: bool, recompute: bool) -> Any:
    """`layer(*inputs, training=training)`, its activations not kept if `recompute`."""
    if not (training and recompute):
        return layer(*inputs, training=training)
    weights = [variable.value for variable in layer.trainable_variables]
    states = [variable.value for variable in layer.non_trainable_variables]
    num_inputs = len(inputs)

    def pure(*arguments):
        # Everything that has a gradient is an argument; random generators and batch statistics
        # start from the same state both times.
        inputs, weights = arguments[:num_inputs], list(arguments[num_inputs:])
        return layer.stateless_call(weights, states, *inputs, training=True)

    if keras.backend.backend() == "jax":
        outputs, new_states = keras.remat(pure)(*inputs, *weights)
    else:
        kept = []

        def outputs_only(*arguments):
            outputs, new_states = pure(*arguments)
            kept.append(new_states)
            return outputs

        outputs = keras.remat(outputs_only)(*inputs, *weights)
        new_states = kept[0]  # of the forward pass
    for variable, new in zip(layer.non_trainable_variables, new_states, strict=True):
        variable.assign(new)
    return outputs
