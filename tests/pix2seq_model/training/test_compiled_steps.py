"""A step that was compiled for another run trains a new run like one compiled for it."""

import numpy as np
import pytest

from pix2seq_model.experiment.validation import training_run
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.training import compiled_steps
from pix2seq_model.training import train as training
from pix2seq_model.training.compiled_steps import CompiledSteps
from tests.fixtures import tiny_run


def _train(root, examples, config, steps):
    training.train(
        training_run(config, "finetune"),
        examples_dir=examples,
        model_dir=root / "model",
        work_dir=root / "work",
        logs_dir=root / "logs",
        export=False,
        compiled_steps=steps,
    )
    return load_model_folder(str(root / "model"))[0]


def test_a_second_run_comes_to_the_same_weights_as_alone(tmp_path, examples):
    first = tiny_run.config(ema_decay=0.5)
    second = tiny_run.config(ema_decay=0.5)
    second.seed = 11
    second.vocabulary.num_bins = 16
    second.finetune.sequence.order = "area"
    steps = tiny_run.compiled_steps()  # A test of this process may have traced this one.
    _train(tmp_path / "before", examples, first, steps)
    kept = len(steps._kept)
    shared = _train(tmp_path / "shared", examples, second, steps)
    assert len(steps._kept) == kept  # the second run took over the first one's step
    alone = _train(tmp_path / "alone", examples, second, None)
    assert shared.vocabulary.num_bins == 16
    for one, other in zip(shared.get_weights(), alone.get_weights(), strict=True):
        assert np.array_equal(one, other)
    assert not (tmp_path / "shared/model/Format-Serving").exists()


def test_other_optimisation_gets_a_step_of_its_own():
    class MadeError(Exception):
        pass

    def make():
        raise MadeError

    def key(**settings):
        return compiled_steps._key(training_run(tiny_run.config(**settings), "finetune"))

    assert key() == key(steps_per_log=1)
    steps = CompiledSteps()
    steps._kept[key()] = None
    for change in ({"learning_rate": 0.5}, {"steps": 11}, {"batch_size": 8}):
        with pytest.raises(MadeError):
            steps.take(training_run(tiny_run.config(**change), "finetune"), make)
