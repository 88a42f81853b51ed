"""Counts of a stage that must divide into each other: batches, steps, intervals."""

from ml_collections import ConfigDict

from pix2seq_model.errors import ConfigError


def check_step_counts(settings: ConfigDict, stage: str) -> None:
    """Raises ConfigError where one count must divide into another and does not.

    Whether a batch divides over the devices, Replicas.check_share says.

    Args:
      settings: of the stage.
      stage: its name, for the message.
    """
    batches_per_step = settings.accumulation_steps
    together = settings.steps_per_execution
    for name in ("steps", "steps_per_log", "checkpoint_every_steps"):
        if settings[name] * batches_per_step % together:
            raise ConfigError(
                f"{stage}.{name}={settings[name]} is no multiple of {stage}.steps_per_execution="
                f"{together}: choose {max(1, settings[name] // together) * together}."
            )
    interval = settings.steps_per_log
    if settings.evaluate_every_steps % interval:
        raise ConfigError(
            f"{stage}.evaluate_every_steps={settings.evaluate_every_steps} is no multiple of "
            f"{stage}.steps_per_log={interval}: choose "
            f"{max(1, settings.evaluate_every_steps // interval) * interval}."
        )
    if settings.keep_best and not settings.evaluate_every_steps:
        raise ConfigError(
            f"{stage}.keep_best needs evaluations while training: set {stage}.evaluate_every_steps."
        )
