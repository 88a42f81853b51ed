"""Trains and evaluates the trials of an ablation, one after the other in this process."""

import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
from etils import epath
from ml_collections import ConfigDict

from pix2seq_model.ablation.trials import (
    Trial,
    TrialResult,
    end_token_offsets,
    read_result,
    trial_config,
    write_result,
)
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.experiment import loading as experiment
from pix2seq_model.model_folder.folder import ModelInfo, load_weights
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.training.compiled_steps import CompiledSteps
from pix2seq_model.training.evaluation import SplitEvaluator
from pix2seq_model.training.train import train

_SECONDS_FILE = "seconds.txt"
_WORK_FOLDER = "work"


class TrialRunner:
    """Runs trials; what one of them compiled for the evaluation serves all others."""

    def __init__(
        self,
        config: ConfigDict,
        *,
        examples: Mapping[str, epath.PathLike],
        root: epath.Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
          config: the ablation's.
          examples: examples folder by training stage.
          root: folder of the trials' folders.
          clock: seconds, for tests.
        """
        self._config, self._examples, self._root = config, examples, root
        self._clock = clock
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
        with _Stopwatch(folder / _SECONDS_FILE, self._clock) as watch:
            config = trial_config(self._config, trial)
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
            result = TrialResult(
                trial=trial,
                metrics=metrics,
                seconds=seconds_before + watch.seconds(),
                weights_sha256=weights_sha256,
                identity=identity,
            )
        write_result(folder, result)
        if (folder / _WORK_FOLDER).exists():
            shutil.rmtree(folder / _WORK_FOLDER)
        (folder / _SECONDS_FILE).unlink()
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
        evaluator = SplitEvaluator(
            self._network,
            self._examples["finetune"],
            split=config.evaluation.split,
            settings=settings,
        )
        return evaluator.result().metrics


class _Stopwatch:
    """Seconds spent on a trial, those of attempts that were stopped included."""

    def __init__(self, path: epath.Path, clock: Callable[[], float]) -> None:
        self._path, self._clock = path, clock
        self._before = float(path.read_text()) if path.exists() else 0.0
        self._start = clock()

    def seconds(self) -> float:
        return self._before + self._clock() - self._start

    def __enter__(self) -> "_Stopwatch":
        return self

    def __exit__(self, *_: object) -> None:
        self._path.write_text(f"{self.seconds():.3f}")
