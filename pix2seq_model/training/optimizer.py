"""AdamW as a stage's settings say, and its learning rates: linear warm-up from 0, then a decay."""

import math
import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from pix2seq_model.errors import ConfigError
from pix2seq_model.training.adamw import AdamW
from pix2seq_model.training.settings import StageSettings

SCHEDULES = ("linear", "cosine", "exponential", "constant")


@keras.saving.register_keras_serializable(package="pix2seq")
class WarmUpAndDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0 to the base rate, then a decay over the remaining steps.

    With d steps since the warm-up, T = total_steps - warmup_steps - tail_steps, progress = d / T:

        linear        from the base rate to base * end_factor
        cosine        base * (end_factor + (1 - end_factor) * (1 + cos(pi * progress)) / 2)
        exponential   base * end_factor ** progress
        constant      base

    Past progress 1 linear and cosine stay at their end.

    Args:
      base_rate: the rate after warm-up.
      schedule: one of `SCHEDULES`.
      total_steps: steps of the training, warm-up and tail included.
      warmup_steps: steps of the warm-up; at step 0 the rate is 0.
      tail_steps: last steps, at the end rate.
      end_factor: what is left of the base rate at the end.
      cosine_fraction: the part of the cosine's curve that is used, 1 for all of it.

    Raises:
      ConfigError: the schedule is unknown or warm-up and tail are longer than the training.
    """

    def __init__(
        self,
        base_rate: float,
        schedule: str,
        *,
        total_steps: int,
        warmup_steps: int = 0,
        tail_steps: int = 0,
        end_factor: float = 0.0,
        cosine_fraction: float = 1.0,
    ):
        super().__init__()
        if schedule not in SCHEDULES:
            raise ConfigError(
                f"learning rate schedule {schedule!r} is none of {', '.join(SCHEDULES)}."
            )
        if warmup_steps < 0 or tail_steps < 0 or warmup_steps + tail_steps > total_steps:
            raise ConfigError(
                f"warmup_steps={warmup_steps} and tail_steps={tail_steps} must not be negative "
                f"and must fit into {total_steps} steps."
            )
        self._config: dict[str, Any] = {
            "base_rate": base_rate,
            "schedule": schedule,
            "total_steps": total_steps,
            "warmup_steps": warmup_steps,
            "tail_steps": tail_steps,
            "end_factor": end_factor,
            "cosine_fraction": cosine_fraction,
        }

    def __call__(self, step):
        base, warmup = self._config["base_rate"], self._config["warmup_steps"]
        step = ops.cast(step, "float32")
        rising = base * step / max(warmup, 1)
        return ops.where(step < warmup, rising, base * self._decay(step - warmup))

    def _decay(self, steps):
        config = self._config
        schedule, end = config["schedule"], config["end_factor"]
        decay_steps = config["total_steps"] - config["warmup_steps"] - config["tail_steps"]
        progress = steps / max(decay_steps, 1)
        if schedule == "linear":
            return 1 - (1 - end) * ops.clip(progress, 0.0, 1.0)
        if schedule == "cosine":
            angle = math.pi * ops.clip(progress * config["cosine_fraction"], 0.0, 1.0)
            return end + (1 - end) * (1 + ops.cos(angle)) / 2
        if schedule == "exponential":
            return ops.power(end, progress)
        return ops.ones_like(steps)

    def get_config(self):
        return dict(self._config)


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


def make_optimizer(settings: StageSettings, trainable_variables: Sequence[keras.Variable]) -> AdamW:
    """AdamW, built, its state zero.

    Args:
      settings: of the stage. `weight_decay_exclude` holds regular expressions that are
        searched for in the path of a weight, as in "decoder/layer0/mlp/expand/bias".
      trainable_variables: of the model, in its order.
    """
    batches_per_step = settings.accumulation_steps
    optimizer = AdamW(
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
