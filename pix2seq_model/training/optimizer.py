"""AdamW as a stage's settings say, and its learning rates: linear warm-up from 0, then a decay."""

import math
import re
from collections.abc import Sequence

import keras
from keras import ops

from pix2seq_model.training.settings import StageSettings


class WarmUpAndDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A stage's learning rate by the number of the batch, from 0.

    Linear warm-up from 0 to the base rate, then a decay over the remaining steps. With d steps
    since the warm-up, T = steps - warmup_steps, progress = d / T:

        linear        from the base rate to base * end_factor
        cosine        base * (end_factor + (1 - end_factor) * (1 + cos(pi * progress)) / 2)
        constant      base

    Past progress 1 linear and cosine stay at their end.
    """

    def __init__(self, settings: StageSettings) -> None:
        super().__init__()
        self._settings = settings

    def __call__(self, batch):
        settings = self._settings
        base, warmup = settings.learning_rate, settings.warmup_steps
        if settings.accumulation_steps > 1:
            batch = ops.floor_divide(batch, settings.accumulation_steps)
        step = ops.cast(batch, "float32")
        rising = base * step / max(warmup, 1)
        return ops.where(step < warmup, rising, base * self._decay(step - warmup))

    def _decay(self, steps):
        schedule, end = self._settings.schedule, self._settings.end_factor
        progress = steps / max(self._settings.steps - self._settings.warmup_steps, 1)
        if schedule == "linear":
            return 1 - (1 - end) * ops.clip(progress, 0.0, 1.0)
        if schedule == "cosine":
            return end + (1 - end) * (1 + ops.cos(math.pi * ops.clip(progress, 0.0, 1.0))) / 2
        return ops.ones_like(steps)


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
        learning_rate=WarmUpAndDecay(settings),
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
