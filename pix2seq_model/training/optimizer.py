"""AdamW as a stage's settings say."""

import re
from collections.abc import Sequence

import keras
from keras import ops

from pix2seq_model.training.schedules import WarmUpAndDecay
from pix2seq_model.training.settings import StageSettings


class EveryFewBatches(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule in optimizer steps for an optimizer that counts batches.

    Keras counts every batch whose gradients are accumulated as an iteration.
    """

    def __init__(
        self, schedule: keras.optimizers.schedules.LearningRateSchedule, batches_per_step: int
    ) -> None:
        super().__init__()
        self._schedule, self._batches_per_step = schedule, batches_per_step

    def __call__(self, step):
        return self._schedule(ops.floor_divide(step, self._batches_per_step))

    def get_config(self) -> dict:
        return {"schedule": self._schedule, "batches_per_step": self._batches_per_step}


def make_schedule(settings: StageSettings) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of a stage by the number of the batch, from 0."""
    schedule = WarmUpAndDecay(
        settings.learning_rate,
        settings.schedule,
        total_steps=settings.steps,
        warmup_steps=settings.warmup_steps,
        end_factor=settings.end_factor,
    )
    if settings.accumulation_steps == 1:
        return schedule
    return EveryFewBatches(schedule, settings.accumulation_steps)


def make_optimizer(
    settings: StageSettings, trainable_variables: Sequence[keras.Variable]
) -> keras.optimizers.AdamW:
    """AdamW (arXiv:1711.05101), built, its state zero.

    Args:
      settings: of the stage. `weight_decay_exclude` holds regular expressions that are
        searched for in the path of a weight, as in "decoder/layer0/mlp/expand/bias".
      trainable_variables: of the model, in its order.
    """
    batches_per_step = settings.accumulation_steps
    optimizer = keras.optimizers.AdamW(
        learning_rate=make_schedule(settings),
        weight_decay=settings.weight_decay,
        beta_1=0.9,
        beta_2=settings.beta_2,
        epsilon=1e-8,
        global_clipnorm=settings.clip_norm or None,
        use_ema=settings.ema_decay > 0,
        # Keras moves the average with every batch; the decay is that of a step.
        ema_momentum=settings.ema_decay ** (1 / batches_per_step),
        gradient_accumulation_steps=batches_per_step if batches_per_step > 1 else None,
        name="adamw",
    )
    excluded = [
        variable
        for variable in trainable_variables
        if any(re.search(pattern, variable.path) for pattern in settings.weight_decay_exclude)
    ]
    optimizer.exclude_from_weight_decay(var_list=excluded)
    optimizer.build(list(trainable_variables))
    return optimizer
