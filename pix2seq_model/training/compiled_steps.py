"""Compiled training steps that later runs in the same process take over.

To trace and compile a step takes longer than a small run trains. It depends on the network and on
how it is optimised, but not on the data, the seed, the order of the objects or the number of bins.
"""

import dataclasses
import json
from collections.abc import Callable

from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.training.checkpoint import TrainingState, put_state, take_state
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.training_step import TrainingStep

# Settings of a stage that the step does not depend on.
_OUTSIDE_THE_STEP = (
    *("augmentation", "sequence", "split", "shuffle_buffer", "max_skipped_batches"),
    *("steps_per_log", "checkpoint_every_steps", "checkpoint_every_minutes", "keep_checkpoints"),
    *("evaluate_every_steps", "evaluate_images", "keep_best", "drop_empty_images"),
    *("validation_loss", "early_stopping_patience", "early_stopping_metric"),
    *("early_stopping_min_delta", "repeat_threshold"),
)


class CompiledSteps:
    """The steps that `train` has compiled, by what decides them."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[TrainingStep, TrainingState]] = {}

    def take(self, run: TrainingRun, make: Callable[[], TrainingStep]) -> TrainingStep:
        """A step as `make` returns it, but compiled before if an earlier run had such a one.

        The run that had it must be over.
        """
        key = _key(run)
        if key not in self._kept:
            step = make()
            self._kept[key] = (step, take_state(step.model, step=0))
            return step
        step, initial = self._kept[key]
        step.synchronize()
        put_state(step.model, initial)
        network = step.model.network
        fresh = build_model(run.model, run.vocabulary, seed=run.seed)
        # All variables: next to the weights there is the state of the seeds of dropout.
        for old, new in zip(network.variables, fresh.variables, strict=True):
            old.assign(new)
        network.vocabulary = run.vocabulary
        return step


def _key(run: TrainingRun) -> str:
    vocabulary = dataclasses.asdict(run.vocabulary)
    del vocabulary["num_bins"]
    settings = dataclasses.asdict(run.settings)
    for name in _OUTSIDE_THE_STEP:
        del settings[name]
    return json.dumps([settings, vocabulary, dataclasses.asdict(run.model)], sort_keys=True)
