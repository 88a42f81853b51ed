"""Each trial is done once, and again only as far as it is missing."""

import json
import shutil

import pytest

from pix2seq_model.ablation.runner import run_trials
from pix2seq_model.ablation.trials import read_result
from pix2seq_model.errors import CheckpointError, DataError, TrainingInterruptedError
from tests.fixtures import tiny_run
from tests.fixtures.small_ablation import small_config


@pytest.mark.large
def test_trials_are_trained_and_evaluated_once_and_go_on_where_they_were_killed(
    tmp_path, monkeypatch
):
    examples = {"finetune": tiny_run.write_examples(tmp_path / "data", splits=("train", "val"))}
    config = small_config()
    # A later call uses the steps that an earlier one has traced.
    monkeypatch.setattr("pix2seq_model.ablation.runner.CompiledSteps", tiny_run.compiled_steps)
    patches = pytest.MonkeyPatch()
    output = tmp_path / "out"
    results = run_trials(config, examples=examples, output_dir=output)
    assert [result.trial.augmented for result in results] == [True, False]
    assert {tuple(result.metrics) for result in results} == {(0.0,)}
    assert set(results[0].metrics[0.0]) >= {"AP", "AR100"}
    assert not list(output.glob("trials/*/work"))

    # Finished trials are not done again.
    patches.setattr("pix2seq_model.ablation.runner.TrialRunner", None)
    assert run_trials(config, examples=examples, output_dir=output) == results
    # Nor where others ask for more data.
    both = {**examples, "pretrain": examples["finetune"]}
    assert run_trials(config, examples=both, output_dir=output) == results
    patches.undo()

    # More offsets take no training.
    patches.setattr("pix2seq_model.ablation.runner.train", None)
    more = small_config(end_token_offsets=(0.0, -3.0))
    evaluated = run_trials(more, examples=examples, output_dir=output)
    assert set(evaluated[0].metrics) == {0.0, -3.0}
    assert evaluated[0].metrics[0.0] == results[0].metrics[0.0]
    patches.undo()

    # A stopped trial continues from its checkpoint, alone, and ends with the same weights.
    second = output / "trials" / results[1].trial.name
    shutil.rmtree(second)
    _stop_at_step(patches, 7)
    with pytest.raises(TrainingInterruptedError, match="at step 7 of 10"):
        run_trials(config, examples=examples, output_dir=output)
    patches.undo()
    assert read_result(second) is None
    again = run_trials(config, examples=examples, output_dir=output)
    assert again[1].weights_sha256 == results[1].weights_sha256
    assert again[1].metrics[0.0] == results[1].metrics[0.0]
    run = json.loads((second / "model/run.json").read_text())
    assert run["restarts"] == 1

    # Other settings are refused rather than mixed in.
    with pytest.raises(CheckpointError, match=r"other settings \(stage changed\).*--output"):
        run_trials(small_config_with_rate(2e-3), examples=examples, output_dir=output)
    (second / "result.json").write_text("{")
    with pytest.raises(DataError, match=r"result.json is damaged.*delete it"):
        run_trials(config, examples=examples, output_dir=output)


def small_config_with_rate(rate):
    config = small_config()
    config.finetune.learning_rate = rate
    return config


def _stop_at_step(monkeypatch, step):
    from pix2seq_model.training.interruption import StopAgreement

    real = StopAgreement.is_agreed

    def stop(self, batch):
        if batch == step:
            self._request.received = "SIGTERM"
        return real(self, batch)

    monkeypatch.setattr(StopAgreement, "is_agreed", stop)


def test_a_failing_trial_is_named(tmp_path):
    examples = {"finetune": tiny_run.write_examples(tmp_path / "data")}
    config = small_config()
    config.finetune.split = "nowhere"
    with pytest.raises(DataError, match=r"trial scratch-32_bins-random-noise-seed0: .*nowhere"):
        run_trials(config, examples=examples, output_dir=tmp_path / "out")
