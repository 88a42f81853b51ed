"""Trains and evaluates the trials of an ablation, one after the other in this process."""

import dataclasses
import json
import shutil
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any

import keras
from etils import epath
from ml_collections import ConfigDict

from pix2seq_model.ablation.trials import (
    TRIALS_FOLDER,
    Trial,
    TrialResult,
    base_of,
    end_token_offsets,
    plan_trials,
    read_result,
    trial_config,
    write_result,
)
from pix2seq_model.data.ground_truth import read_split_truth
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.errors import CheckpointError, TrainingInterruptedError, UserError
from pix2seq_model.evaluation.detection import evaluate_network
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.experiment import validation as experiment
from pix2seq_model.model_folder.folder import ModelInfo, load_weights
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.progress import duration_text
from pix2seq_model.training.compiled_steps import CompiledSteps
from pix2seq_model.training.settings import WATCHING_SETTINGS
from pix2seq_model.training.train import train

_SECONDS_FILE = "seconds.txt"
_WORK_FOLDER = "work"


def run_trials(
    config: ConfigDict,
    *,
    examples: Mapping[str, epath.PathLike],
    output_dir: epath.PathLike,
) -> list[TrialResult]:
    """Trains and evaluates every trial that has no result yet.

    Args:
      config: the experiment's, with an `ablation` section.
      examples: examples folder by training stage.
      output_dir: where results go; another call with it continues where this one was stopped, in
        the middle of a trial from its last checkpoint.

    Returns:
      The results of all trials but pretraining.

    Raises:
      UserError: a trial cannot be done, and which; or `output_dir` holds other trials' results.
      TrainingInterruptedError: stopped by a signal, with the state saved.
    """
    trials = plan_trials(config)
    root = epath.Path(output_dir) / TRIALS_FOLDER
    identities = {trial: _identity(config, trial, examples) for trial in trials}
    done = {}
    for trial in trials:
        if (result := read_result(root / trial.name)) is not None:
            _check_same(result, identities[trial], root / trial.name)
            if set(end_token_offsets(config, trial)) <= set(result.metrics):
                done[trial] = result
    finished = f", {len(done)} of them finished before" if done else ""
    _say(f"{len(trials)} trials{finished}")
    runner = None
    for trial in [trial for trial in trials if trial not in done]:
        left = ""
        if done:
            mean = statistics.fmean(result.seconds for result in done.values())
            left = f", about {duration_text((len(trials) - len(done)) * mean)} left"
        _say(f"[{len(done) + 1}/{len(trials)}] {trial.name}{left}")
        if runner is None:
            runner = TrialRunner(config, examples=examples, root=root)
        try:
            done[trial] = runner.run(trial, base_of(trial, trials), identities[trial])
        except TrainingInterruptedError:
            raise
        except UserError as error:
            raise type(error)(f"trial {trial.name}: {error}") from error
        _say(f"    {_headline(done[trial])}")
    return [done[trial] for trial in trials if not trial.is_base]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class TrialRunner:
    """Runs trials; what one of them compiled for the evaluation serves all others."""

    def __init__(
        self, config: ConfigDict, *, examples: Mapping[str, epath.PathLike], root: epath.Path
    ) -> None:
        """
        Args:
          config: the ablation's.
          examples: examples folder by training stage.
          root: folder of the trials' folders.
        """
        self._config, self._examples, self._root = config, examples, root
        self._compiled_steps = CompiledSteps()
        self._network: keras.Model | None = None

    def run(self, trial: Trial, base: Trial | None, identity: Mapping[str, Any]) -> TrialResult:
        """Trains and evaluates a trial, from where an earlier call was stopped.

        Args:
          trial: what to do.
          base: trial to start from, finished.
          identity: what decides the numbers, for the result.

        Raises:
          UserError: see `train`.
        """
        folder = self._root / trial.name
        folder.mkdir(parents=True, exist_ok=True)
        earlier = read_result(folder)
        config = trial_config(self._config, trial)
        # Attempts that were stopped count too.
        seconds_file = folder / _SECONDS_FILE
        before = float(seconds_file.read_text()) if seconds_file.exists() else 0.0
        start = time.monotonic() - before
        try:
            if earlier is None:
                weights_sha256 = self._train(config, trial, base).weights_sha256
                metrics, seconds_before = {}, 0.0
            else:
                # Trained before; offsets are asked for that it was not evaluated with.
                weights_sha256 = earlier.weights_sha256
                metrics, seconds_before = dict(earlier.metrics), earlier.seconds
            for offset in end_token_offsets(self._config, trial):
                if offset not in metrics:
                    metrics[offset] = self._evaluate(config, folder / "model", offset)
        finally:
            seconds = time.monotonic() - start
            seconds_file.write_text(f"{seconds:.3f}")
        result = TrialResult(
            trial=trial,
            metrics=metrics,
            seconds=seconds_before + seconds,
            weights_sha256=weights_sha256,
            identity=identity,
        )
        write_result(folder, result)
        if (folder / _WORK_FOLDER).exists():
            shutil.rmtree(folder / _WORK_FOLDER)
        seconds_file.unlink()
        return result

    def _train(self, config: ConfigDict, trial: Trial, base: Trial | None) -> ModelInfo:
        folder = self._root / trial.name
        return train(
            experiment.training_run(config, trial.stage),
            examples_dir=self._examples[trial.stage],
            model_dir=folder / "model",
            work_dir=folder / _WORK_FOLDER,
            logs_dir=folder / "logs",
            base_model_dir=self._root / base.name / "model" if base else None,
            export=False,
            compiled_steps=self._compiled_steps,
        )

    def _evaluate(
        self, config: ConfigDict, model_dir: epath.Path, end_token_offset: float
    ) -> dict[str, float]:
        if self._network is None:
            self._network = build_model(
                experiment.model_config(config, "finetune"), experiment.vocabulary(config)
            )
        load_weights(self._network, str(model_dir))
        # The number of bins is in how tokens are read, not in what is computed.
        self._network.vocabulary = experiment.vocabulary(config)
        settings = EvaluationSettings.from_config(
            {**config.evaluation.to_dict(), "end_token_offset": end_token_offset}
        )
        truth = read_split_truth(self._examples["finetune"], settings.split)
        return evaluate_network(self._network, truth, settings=settings).result.metrics


def _identity(
    config: ConfigDict, trial: Trial, examples: Mapping[str, epath.PathLike]
) -> dict[str, Any]:
    """All that decides a trial's numbers, except the code; as JSON gives it back."""
    changed = trial_config(config, trial)
    stage = changed[trial.stage].to_dict()
    settings = EvaluationSettings.from_config(config.evaluation)
    # A trial from scratch is the same whether others are pretrained or not.
    used = {trial.stage} if trial.pretrained is None else {"pretrain", "finetune"}
    decisive = ("seed", "precision", "resize", "clip_boxes")
    by_name = {name: getattr(settings, name) for name in decisive}
    content = {
        "stage": {name: stage[name] for name in stage if name not in WATCHING_SETTINGS},
        "vocabulary": changed.vocabulary.to_dict(),
        "model": changed.model.to_dict(),
        "evaluation": {**settings.decoding(), **by_name},
        "split": config.evaluation.split,
        "data": {
            name: read_dataset_info(folder).fingerprint()
            for name, folder in examples.items()
            if name in used
        },
    }
    if trial.pretrained is not None:
        before = dataclasses.replace(
            trial, is_base=True, augmented=trial.pretrained, pretrained=None
        )
        content["pretrain"] = trial_config(config, before).pretrain.to_dict()
    return json.loads(json.dumps(content))


def _check_same(result: TrialResult, identity: Mapping[str, Any], folder: epath.Path) -> None:
    """Raises CheckpointError if a result is that of other settings or data."""
    if result.identity == identity:
        return
    changed = sorted(name for name in identity if result.identity.get(name) != identity[name])
    raise CheckpointError(
        f"{folder} holds a result with other settings ({', '.join(changed)} changed): give another "
        "--output, restore the settings, or delete that folder."
    )


def _headline(result: TrialResult) -> str:
    numbers = result.metrics.get(0.0)  # none of pretraining
    found = f"AP {numbers['AP']:.3f}  AR@100 {numbers['AR100']:.3f} " if numbers else "done"
    return f"{found} in {duration_text(result.seconds)}"
