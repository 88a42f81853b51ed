"""Compiled training steps that later runs in the same process take over.

To trace and compile a step takes longer than a small run trains. It depends on the network and on
how it is optimised, but not on the data, the seed, the order of the objects or the number of bins.
"""

import dataclasses
import json
from collections.abc import Callable

import keras

from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.training.checkpoint import TrainingState, put_state, take_state
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.training_model import TrainedNetwork

# Settings of a stage that the step does not depend on.
_OUTSIDE_THE_STEP = ("augmentation", "sequence", "split", "shuffle_buffer")


class CompiledSteps:
    """The networks that `train` has compiled, by what decides their step."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[TrainedNetwork, TrainingState]] = {}

    def take(self, run: TrainingRun, make: Callable[[], TrainedNetwork]) -> TrainedNetwork:
        """A network as `make` returns it, but compiled before if an earlier run had such a one.

        The run that had it must be over.
        """
        key = _key(run)
        if key not in self._kept:
            model = make()
            self._kept[key] = (model, take_state(model, step=0))
            return model
        model, initial = self._kept[key]
        put_state(model, initial)
        fresh = build_model(run.model, run.vocabulary, seed=run.seed)
        _copy(fresh.variables, model.network.variables)
        model.network.vocabulary = run.vocabulary
        return model


def _copy(source: list[keras.Variable], target: list[keras.Variable]) -> None:
    # All variables: besides the weights there is the state of the seeds of dropout.
    for old, new in zip(target, source, strict=True):
        old.assign(new)


def _key(run: TrainingRun) -> str:
    vocabulary = dataclasses.asdict(run.vocabulary)
    del vocabulary["num_bins"]
    settings = dataclasses.asdict(run.settings)
    for name in _OUTSIDE_THE_STEP:
        del settings[name]
    return json.dumps([settings, vocabulary, dataclasses.asdict(run.model)], sort_keys=True)
