"""A training step shared by several devices or processes, on TensorFlow.

Each replica computes the gradients of its share of the batch from the same weights; they are added
up over all replicas, and every process then takes the same step with plain variables. On JAX the
compiler does all this by itself.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from pix2seq_model.training.replicas import Replicas
from pix2seq_model.training.training_model import TrainedNetwork, total_weight

_SEED = "seed_generator_state"
# Apart from those that one replica draws from: a generator adds 1 for each draw.
_SEED_OFFSET = 1_000_003


def replicated_train_function(
    model: TrainedNetwork, replicas: Replicas
) -> Callable[[Iterator], dict[str, Any]]:
    """What Keras' `fit` calls for a step: from an iterator over this process' batches to the log.

    Forward and backward pass are compiled by XLA, unless the setting is "off" or batch statistics
    are synchronised in their midst.
    """
    strategy, total = replicas.strategy, tf.distribute.ReduceOp.SUM
    gradients_of = model.gradients
    if model.jit_compile and not _has_batch_statistics(model):
        gradients_of = tf.function(gradients_of, jit_compile=True)
    is_seed = [variable.name == _SEED for variable in model.non_trainable_variables]
    first_replica = replicas.process_index * replicas.devices_per_process

    def moved(states, offset):
        """The random generators moved, so that replicas do not drop the same units."""
        step = tf.stack([tf.cast(offset, tf.int64), 0])
        return [
            state + tf.cast(step, state.dtype) if seed else state
            for state, seed in zip(states, is_seed, strict=True)
        ]

    def share_of_step(weights, states, batch):
        replica = tf.distribute.get_replica_context()
        number = tf.cast(replica.replica_id_in_sync_group, tf.int32)

        def share(values):
            size = values.shape[0] // replicas.devices_per_process
            start = (number - first_replica) * size
            return tf.ensure_shape(values[start : start + size], (size, *values.shape[1:]))

        batch = tf.nest.map_structure(share, batch)
        whole = replica.all_reduce(total, total_weight(batch))
        offset = number * _SEED_OFFSET
        gradients, sums, states = gradients_of(weights, moved(states, offset), batch, whole)
        *gradients, packed = replica.all_reduce(
            total, [*gradients, tf.stack(tf.nest.flatten(sums))]
        )
        sums = tf.nest.pack_sequence_as(sums, tf.unstack(packed))
        return gradients, sums, moved(states, -offset)

    @tf.function(reduce_retracing=True)
    def step(batch):
        results = strategy.run(share_of_step, args=(*model.values(), batch))
        mine = [strategy.experimental_local_results(x)[0] for x in tf.nest.flatten(results)]
        return model.update(*tf.nest.pack_sequence_as(results, mine))

    def train_function(iterator):
        for _ in range(model.steps_per_execution):
            logs = step(next(iterator))
        return logs

    return train_function


def _has_batch_statistics(model: TrainedNetwork) -> bool:
    return any(
        isinstance(layer, keras.layers.BatchNormalization) for layer in model._flatten_layers()
    )
