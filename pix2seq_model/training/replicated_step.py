"""A training step shared by several devices or processes, on TensorFlow.

Each replica computes the gradients of its share of the batch from the same weights; they are added
up over all replicas, and every process then takes the same step with plain variables. On JAX the
compiler does all this by itself.
"""

import keras
import tensorflow as tf

from pix2seq_model.training.loss import total_weight
from pix2seq_model.training.replicas import Replicas
from pix2seq_model.training.tensorflow_step import TensorFlowStep, gradients, update, values
from pix2seq_model.training.training_model import TrainingModel

_SEED = "seed_generator_state"
# Apart from those that one replica draws from: a generator adds 1 for each draw.
_SEED_OFFSET = 1_000_003


class ReplicatedStep(TensorFlowStep):
    """See TrainingStep; a batch is this process' share of the whole.

    Forward and backward pass are compiled by XLA, unless that is off or batch statistics are
    synchronised in their midst.
    """

    def __init__(self, model: TrainingModel, replicas: Replicas, *, jit_compile: bool) -> None:
        # Batches stay in main memory: each device takes its share.
        self.model, self._has_gpu = model, False
        share_of_step = _share_of_step(model, replicas, jit_compile=jit_compile)
        strategy = replicas.strategy

        def step(batch):
            results = strategy.run(share_of_step, args=(*values(model), batch))
            mine = [strategy.experimental_local_results(x)[0] for x in tf.nest.flatten(results)]
            return update(model, *tf.nest.pack_sequence_as(results, mine))

        self._step = tf.function(step, autograph=False, reduce_retracing=True)


def _share_of_step(model: TrainingModel, replicas: Replicas, *, jit_compile: bool):
    """The function that each replica runs: its share of the gradients, added up over all."""
    total = tf.distribute.ReduceOp.SUM

    def gradients_of(*arguments):
        return gradients(model, *arguments)

    if jit_compile and not _has_batch_statistics(model.network):
        gradients_of = tf.function(gradients_of, jit_compile=True, autograph=False)
    is_seed = [variable.name == _SEED for variable in model.state_variables]
    first_replica = replicas.process_index * replicas.devices_per_process

    def moved(states, offset):
        """The random generators moved, so that replicas do not drop the same units."""
        step = tf.stack([tf.cast(offset, tf.int64), 0])
        return [
            state + tf.cast(step, state.dtype) if seed else state
            for state, seed in zip(states, is_seed, strict=True)
        ]

    def share_of_step(weights, states, frozen, batch):
        replica = tf.distribute.get_replica_context()
        number = tf.cast(replica.replica_id_in_sync_group, tf.int32)

        def share(part):
            size = part.shape[0] // replicas.devices_per_process
            start = (number - first_replica) * size
            return tf.ensure_shape(part[start : start + size], (size, *part.shape[1:]))

        batch = tf.nest.map_structure(share, batch)
        whole = replica.all_reduce(total, total_weight(batch))
        offset = number * _SEED_OFFSET
        found, sums, states = gradients_of(weights, moved(states, offset), frozen, batch, whole)
        *found, packed = replica.all_reduce(total, [*found, tf.stack(tf.nest.flatten(sums))])
        sums = tf.nest.pack_sequence_as(sums, tf.unstack(packed))
        return found, sums, moved(states, -offset)

    return share_of_step


def _has_batch_statistics(network: keras.Model) -> bool:
    return any(
        isinstance(layer, keras.layers.BatchNormalization) for layer in network._flatten_layers()
    )
