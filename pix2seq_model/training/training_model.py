"""A network together with its loss: what `fit` trains.

The loss is the weighted mean of the cross-entropy, sum(w * loss) / sum(w) over the tokens of a
batch. What goes into the log falls out of the same numbers. A batch whose loss or gradient is not
finite changes nothing but the count of skipped batches.

Shape suffixes: B batch, L tokens, V vocabulary.
"""

import time

import keras
from keras import ops

from pix2seq_model.tokens.vocabulary import CLASS_SHIFT, NOISE_CLASS, Vocabulary
from pix2seq_model.training.replicas import Replicas

# How many of the latest skipped batches are remembered by number.
REMEMBERED_BATCHES = 16


class TrainedNetwork(keras.Model):
    """A network with the loss, the running means of the log and the guard of a training step.

    The metrics are means since they were last reset: `loss`; of the same token losses
    `loss_coordinates`, `loss_classes` (both of real objects) and `loss_noise` (the noise class);
    `token_accuracy`, the share of real objects' tokens that are the likeliest under teacher
    forcing; `gradient_norm`, before clipping.

    Attributes:
      input_wait_s: seconds spent waiting for batches; to be set back by who reads it.
      waiting_since: on `time.monotonic`, since when the next batch is waited for; None while a step
        is computed.
      network: the network itself, whose weights are saved.
      batches: int32 variable, batches seen.
      skipped: int32 variable, how many of them were not finite.
      skipped_batches: (REMEMBERED_BATCHES,) int32 variable, the numbers of the latest of them,
        -1 where there is none.
    """

    def __init__(
        self,
        network: keras.Model,
        vocabulary: Vocabulary,
        *,
        label_smoothing: float = 0.0,
        replicas: Replicas | None = None,
    ) -> None:
        """
        Args:
          network: to train.
          vocabulary: the token ids.
          label_smoothing: see `token_losses`.
          replicas: that share its batches; this device alone if None.
        """
        super().__init__(name="training")
        self.network = network
        self._replicas = replicas or Replicas()
        self._vocabulary, self._label_smoothing = vocabulary, label_smoothing
        self._means = [
            keras.metrics.Mean(name=name)
            for name in (
                *("loss", "loss_coordinates", "loss_classes", "loss_noise"),
                *("token_accuracy", "gradient_norm"),
            )
        ]
        self.batches = self._counter("batches", (), 0)
        self.skipped = self._counter("skipped", (), 0)
        self.skipped_batches = self._counter("skipped_batches", (REMEMBERED_BATCHES,), -1)
        self.input_wait_s = 0.0
        self.waiting_since: float | None = None
        self.built = True

    def make_train_function(self, force=False):
        """Keras' function of a step, with the wait for its batch timed."""
        made_anew = force or self.train_function is None
        if not made_anew:
            return
        if self._replicas.strategy is None:
            super().make_train_function(force)
        else:
            from pix2seq_model.training.replicated_step import replicated_train_function

            self.train_function = replicated_train_function(self, self._replicas)
        if self.steps_per_execution > 1:
            return
        run = self.train_function

        def timed(*arguments):
            # TensorFlow: (iterator,); JAX: (state, iterator).
            *state, iterator = arguments
            self.waiting_since = time.monotonic()
            batch = next(iterator)
            self.input_wait_s += time.monotonic() - self.waiting_since
            self.waiting_since = None
            return run(*state, iter([batch]))

        self.train_function = timed

    def weight_norm(self) -> float:
        """Global norm of the trainable weights; between two steps only what was synchronized."""
        squares = [ops.sum(ops.square(variable)) for variable in self.trainable_variables]
        return float(ops.sqrt(ops.sum(ops.stack(squares))))

    def call(self, inputs, training=False):
        return self.network(inputs, training=training)

    def train_step(self, *arguments):
        if keras.backend.backend() == "jax":
            return self._train_step_jax(*arguments)
        return self._train_step_tensorflow(*arguments)

    def _train_step_tensorflow(self, batch):
        weights, states = self.values()
        return self.update(*self.gradients(weights, states, batch, total_weight(batch)))

    def gradients(self, weights, states, batch, total):
        """On TensorFlow, what a batch or a share of one gives; changes nothing.

        Args:
          weights, states: values of the trainable and of the other variables.
          batch: as the input returns it.
          total: `total_weight` of the whole batch.

        Returns:
          The gradients, the log's sums and the states afterwards. The first two are those of the
          whole batch once they are added up over its shares.
        """
        import tensorflow as tf

        inputs, targets_BL, weights_BL = batch
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            logits_BLV, states = self.stateless_call(weights, states, inputs, training=True)
            loss, sums = self._loss(targets_BL, logits_BLV, weights_BL, total)
        # An embedding that is only looked up has a sparse gradient; Adam moves all of it anyway.
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)]
        return gradients, sums, states

    def update(self, gradients, sums, states):
        """On TensorFlow, takes a step by what `gradients` returned; returns the log's means."""
        import tensorflow as tf

        parts = _means_of(sums)
        norm, finite = _norm_and_finite(parts["loss"][0], gradients)

        def update():
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))

        def skip():
            self.optimizer._iterations.assign_add(1)

        # A condition rather than a choice between old and new values: the guard costs nothing.
        tf.cond(finite, update, skip)
        for variable, new in zip(self.non_trainable_variables, states, strict=True):
            variable.assign(tf.where(finite, new, variable.value))
        self._count(finite, {**parts, "gradient_norm": (norm, 1.0)})
        return self.get_metrics_result()

    def values(self):
        """The trainable and the other variables' values, as tensors."""
        return (
            [ops.convert_to_tensor(variable.value) for variable in self.trainable_variables],
            [ops.convert_to_tensor(variable.value) for variable in self.non_trainable_variables],
        )

    def _train_step_jax(self, state, batch):
        import jax

        trainable, non_trainable, optimizer, metrics = state
        inputs, targets_BL, weights_BL = batch
        total = total_weight(batch)

        def loss_of(trainable):
            logits_BLV, changed = self.stateless_call(
                trainable, non_trainable, inputs, training=True
            )
            loss, sums = self._loss(targets_BL, logits_BLV, weights_BL, total)
            return loss, (sums, changed)

        (loss, (sums, changed)), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        parts = _means_of(sums)
        norm, finite = _norm_and_finite(loss, gradients)
        new_trainable, new_optimizer = self.optimizer.stateless_apply(
            optimizer, gradients, trainable
        )

        def unless_skipped(new, old):
            return [ops.where(finite, a, b) for a, b in zip(new, old, strict=True)]

        iteration = self.optimizer.variables.index(self.optimizer._iterations)
        kept_optimizer = unless_skipped(new_optimizer, optimizer)
        kept_optimizer[iteration] = new_optimizer[iteration]
        non_trainable = unless_skipped(changed, non_trainable)
        mapping = [
            *zip(self.non_trainable_variables, non_trainable, strict=True),
            *zip(self.metrics_variables, metrics, strict=True),
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            self._count(finite, {**parts, "gradient_norm": (norm, 1.0)})
            logs = self.get_metrics_result()
        new_state = (
            unless_skipped(new_trainable, trainable),
            [scope.get_current_value(variable) for variable in self.non_trainable_variables],
            kept_optimizer,
            [scope.get_current_value(variable) for variable in self.metrics_variables],
        )
        return logs, new_state

    def _loss(self, targets_BL, logits_BLV, weights_BL, total):
        """The share of the loss, and for each mean of the log (sum(w * x), sum(w))."""
        losses_BL = token_losses(targets_BL, logits_BLV, label_smoothing=self._label_smoothing)
        weights_BL = ops.cast(weights_BL, "float32")
        shift = self._vocabulary.coord_shift
        is_coordinate_BL = weights_BL * ops.cast(targets_BL >= shift, "float32")
        is_class_BL = weights_BL * ops.cast(
            (targets_BL > CLASS_SHIFT) & (targets_BL < shift), "float32"
        )
        is_noise_BL = weights_BL * ops.cast(targets_BL == NOISE_CLASS, "float32")
        guess_BL = ops.cast(ops.argmax(logits_BLV, axis=-1), targets_BL.dtype)
        correct_BL = ops.cast(guess_BL == targets_BL, "float32")
        sums = {
            "loss": _weighted_sum(losses_BL, weights_BL),
            "loss_coordinates": _weighted_sum(losses_BL, is_coordinate_BL),
            "loss_classes": _weighted_sum(losses_BL, is_class_BL),
            "loss_noise": _weighted_sum(losses_BL, is_noise_BL),
            "token_accuracy": _weighted_sum(correct_BL, is_coordinate_BL + is_class_BL),
        }
        return sums["loss"][0] / ops.maximum(total, 1e-9), sums

    def _count(self, finite, parts) -> None:
        """Adds a batch to the running means, or to the skipped."""
        for mean in self._means:
            value, weight = parts[mean.name]
            mean.update_state(ops.where(finite, value, 0.0), ops.where(finite, weight, 0.0))
        slot = ops.cast(ops.arange(REMEMBERED_BATCHES), "int32")
        here = slot == self.skipped.value % REMEMBERED_BATCHES
        here = ops.logical_and(here, ops.logical_not(finite))
        self.skipped_batches.assign(ops.where(here, self.batches.value, self.skipped_batches.value))
        self.skipped.assign_add(ops.cast(ops.logical_not(finite), "int32"))
        self.batches.assign_add(1)

    def _counter(self, name: str, shape: tuple, value: int) -> keras.Variable:
        return self.add_weight(
            shape=shape,
            dtype="int32",
            initializer=lambda shape, dtype: ops.full(shape, value, dtype=dtype),
            trainable=False,
            name=name,
        )


def token_losses(targets_BL, logits_BLV, *, label_smoothing: float = 0.0):
    """Cross-entropy of every token, (B, L) float32.

    With smoothing e the target is 1 - e on the token plus e / V on all (arXiv:1512.00567).
    """
    losses_BL = keras.losses.sparse_categorical_crossentropy(
        targets_BL, logits_BLV, from_logits=True
    )
    if not label_smoothing:
        return losses_BL
    uniform_BL = ops.logsumexp(logits_BLV, axis=-1) - ops.mean(logits_BLV, axis=-1)
    return (1 - label_smoothing) * losses_BL + label_smoothing * uniform_BL


def total_weight(batch):
    """Sum of the weights of a batch's tokens."""
    return ops.sum(ops.cast(batch[2], "float32"))


def _weighted_sum(values_BL, weights_BL):
    return ops.sum(weights_BL * values_BL), ops.sum(weights_BL)


def _means_of(sums):
    """For each mean of the log (its value in a batch, the weight it has among batches)."""
    means = {name: (part / ops.maximum(w, 1e-9), w) for name, (part, w) in sums.items()}
    # Every batch counts alike in the loss, as every one is a step.
    return means | {"loss": (means["loss"][0], 1.0)}


def _norm_and_finite(loss, gradients):
    """Global norm of the gradients, and whether it and the loss are finite."""
    squares = [ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients]
    norm = ops.sqrt(ops.sum(ops.stack(squares)))
    return norm, ops.logical_and(ops.isfinite(norm), ops.isfinite(loss))
