"""The paper's ablations: which training runs they take, and how each is trained and evaluated.

Three questions (arXiv:2109.10852, section 4 of the paper): how many bins a coordinate needs, in
which order the objects should stand, and what the noise objects of the training sequences are good
for, where without them the end token is made less likely while decoding.

<output>/trials/<name>/model/        weights
<output>/trials/<name>/result.json   numbers; written last: with it the trial is complete
"""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from etils import epath
from ml_collections import ConfigDict

from pix2seq_model.atomic_write import write_atomically
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    TrainingInterruptedError,
    UserError,
)
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.experiment import loading as experiment
from pix2seq_model.progress import duration_text
from pix2seq_model.tokens.settings import ORDERS
from pix2seq_model.training.settings import WATCHING_SETTINGS

RESULT_FILE = "result.json"
TRIALS_FOLDER = "trials"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run.

    Attributes:
      num_bins: bins of a coordinate.
      order: of the objects, one of `input_settings.ORDERS`.
      augmented: whether sequences have noise objects and corrupted classes.
      pretrained: None from random weights; else whether pretraining was augmented.
      seed: of the weights, the examples' order and everything random about them.
      is_base: pretraining itself, from which others start.
    """

    num_bins: int
    order: str
    augmented: bool
    pretrained: bool | None = None
    seed: int
    is_base: bool = False

    @property
    def name(self) -> str:
        """As a folder's name."""
        start = "base" if self.is_base else "scratch"
        if self.pretrained is not None:
            start = "noise_base" if self.pretrained else "plain_base"
        sequence = "noise" if self.augmented else "plain"
        return f"{start}-{self.num_bins}_bins-{self.order}-{sequence}-seed{self.seed}"

    @property
    def stage(self) -> str:
        """The section of the config that trains it."""
        return "pretrain" if self.is_base else "finetune"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What came out of a trial.

    Attributes:
      trial: which.
      metrics: the COCO numbers by the offset on the end token's logit.
      seconds: that training and evaluation took, over all attempts.
      weights_sha256: digest of its weights.
      identity: all that decides the numbers.
    """

    trial: Trial
    metrics: Mapping[float, Mapping[str, float]]
    seconds: float
    weights_sha256: str
    identity: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            **dataclasses.asdict(self),
            "metrics": [
                {"end_token_offset": offset, **numbers} for offset, numbers in self.metrics.items()
            ],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "TrialResult":
        metrics = {row.pop("end_token_offset"): row for row in content["metrics"]}
        return cls(**{**content, "trial": Trial(**content["trial"]), "metrics": metrics})


def check_settings(config: ConfigDict) -> None:
    """Raises ConfigError unless the config has an `ablation` section that can work."""
    section = config.get("ablation")
    if section is None:
        raise ConfigError(
            f"the config {config.name!r} has no section `ablation`: start from configs/ablation.py"
        )
    if len(set(section.seeds)) < max(1, len(section.seeds)):
        raise ConfigError(f"ablation.seeds={section.seeds}: give one or more, all different.")
    vocabulary = experiment.vocabulary(config)
    for bins in section.bins:
        if not 2 <= bins <= vocabulary.vocab_size - vocabulary.coord_shift:
            raise ConfigError(
                f"ablation.bins: {bins} must lie between 2 and vocabulary.vocab_size - "
                f"coord_shift = {vocabulary.vocab_size - vocabulary.coord_shift}: all trials have "
                "one vocabulary, large enough for the most bins."
            )
    for order in section.orders:
        if order not in ORDERS:
            raise ConfigError(f"ablation.orders: {order!r} is none of {', '.join(ORDERS)}.")
    if not config.finetune.sequence.noise_objects:
        raise ConfigError(
            "finetune.sequence.noise_objects is false: the ablation takes noise objects away "
            "itself, and has them in all other trials."
        )
    if config.evaluation.end_token_offset != 0:
        raise ConfigError(
            f"evaluation.end_token_offset={config.evaluation.end_token_offset} must be 0 here: "
            "give all offsets to try as ablation.end_token_offsets."
        )
    if not config.finetune.enabled or (section.pretrained and not config.pretrain.enabled):
        raise ConfigError(
            "ablation: every trial is trained by the section `finetune`, and those of "
            "ablation.pretrained start from one trained by `pretrain`: enable what is needed."
        )


def plan_trials(config: ConfigDict) -> list[Trial]:
    """All trials, each once: bins and orders seed by seed, then pretraining and the noise objects.

    A trial that several questions need (the config's own bins and order, with noise) is one trial.
    Without end_token_offsets the third question is not asked.

    Raises:
      ConfigError: see `check_settings`.
    """
    check_settings(config)
    section = config.ablation
    usual = functools.partial(
        Trial,
        num_bins=config.vocabulary.num_bins,
        order=config.finetune.sequence.order,
        augmented=True,
    )
    trials = []
    for seed in section.seeds:
        trials += [usual(num_bins=bins, seed=seed) for bins in section.bins]
        trials += [usual(order=order, seed=seed) for order in section.orders]
    if not section.end_token_offsets:
        return list(dict.fromkeys(trials))
    trials += [
        usual(augmented=augmented, seed=section.seeds[0], is_base=True)
        for augmented in sorted({before for before, _ in section.pretrained}, reverse=True)
    ]
    for seed in section.seeds:
        trials += [usual(augmented=augmented, seed=seed) for augmented in (True, False)]
        trials += [
            usual(pretrained=before, augmented=augmented, seed=seed)
            for before, augmented in section.pretrained
        ]
    return list(dict.fromkeys(trials))


def stages_of(trials: Sequence[Trial]) -> tuple[str, ...]:
    """The sections of the config that train them, whose data are needed."""
    return tuple(dict.fromkeys(trial.stage for trial in trials))


def base_of(trial: Trial, trials: Sequence[Trial]) -> Trial | None:
    """The trial whose weights this one starts from, if any."""
    if trial.pretrained is None:
        return None
    return next(t for t in trials if t.is_base and t.augmented == trial.pretrained)


def trial_config(config: ConfigDict, trial: Trial) -> ConfigDict:
    """The config of a trial's training."""
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
        changed.seed = trial.seed
        changed.vocabulary.num_bins = trial.num_bins
        sequence = changed[trial.stage].sequence
        sequence.order = trial.order
        if not trial.augmented:
            sequence.noise_objects = False
            sequence.class_corruption = "none"
    return changed


def run_trials(
    config: ConfigDict,
    *,
    examples: Mapping[str, epath.PathLike],
    output_dir: epath.PathLike,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[TrialResult]:
    """Trains and evaluates every trial that has no result yet.

    Args:
      config: the experiment's, with an `ablation` section.
      examples: examples folder by training stage.
      output_dir: where results go; another call with it goes on where this one was stopped, in the
        middle of a trial from its last checkpoint.
      stream: where to show progress; standard error if None.
      clock: seconds, for tests.

    Returns:
      The results of all trials but pretraining.

    Raises:
      UserError: a trial cannot be done, and which; or `output_dir` holds other trials' results.
      TrainingInterruptedError: stopped by a signal, with the state saved.
    """
    stream = stream or sys.stderr
    trials = plan_trials(config)
    root = epath.Path(output_dir) / TRIALS_FOLDER
    done = {}
    for trial in trials:
        result = read_result(root / trial.name)
        if result is not None:
            _check_same(result, _identity(config, trial, examples), root / trial.name)
        if result is not None and set(end_token_offsets(config, trial)) <= set(result.metrics):
            done[trial] = result
    missing = [trial for trial in trials if trial not in done]
    finished = f", {len(done)} of them finished before" if done else ""
    print(f"{len(trials)} trials{finished}", file=stream, flush=True)
    runner = None
    spent = [result.seconds for result in done.values()]
    for number, trial in enumerate(missing, start=len(done) + 1):
        left = ""
        if spent:
            remaining = (len(missing) + len(done) - number + 1) * sum(spent) / len(spent)
            left = f", about {duration_text(remaining)} left"
        print(f"[{number}/{len(trials)}] {trial.name}{left}", file=stream, flush=True)
        if runner is None:
            # TensorFlow takes seconds to import; an ablation that is finished does without.
            from pix2seq_model.ablation.runner import TrialRunner

            runner = TrialRunner(config, examples=examples, root=root, clock=clock)
        try:
            base = base_of(trial, trials)
            result = runner.run(trial, base, _identity(config, trial, examples))
        except TrainingInterruptedError:
            raise
        except UserError as error:
            raise type(error)(f"trial {trial.name}: {error}") from error
        done[trial] = result
        spent.append(result.seconds)
        print(f"    {_headline(result)}", file=stream, flush=True)
    return [done[trial] for trial in trials if not trial.is_base]


def read_result(folder: epath.Path) -> TrialResult | None:
    """The result of a finished trial; None if it is not finished.

    Raises:
      DataError: the file is damaged.
    """
    path = folder / RESULT_FILE
    if not path.exists():
        return None
    try:
        return TrialResult.from_json(json.loads(path.read_text()))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}): delete it to do the trial again.") from error


def write_result(folder: epath.Path, result: TrialResult) -> None:
    """Writes a finished trial's result."""
    write_atomically(folder / RESULT_FILE, json.dumps(result.to_json(), indent=1) + "\n")


def _identity(
    config: ConfigDict, trial: Trial, examples: Mapping[str, epath.PathLike]
) -> dict[str, Any]:
    """All that decides a trial's numbers, but for the code; as JSON gives it back."""
    changed = trial_config(config, trial)
    stage = {
        name: value
        for name, value in changed[trial.stage].to_dict().items()
        if name not in WATCHING_SETTINGS
    }
    settings = EvaluationSettings.from_config(config.evaluation)
    # A trial from scratch is the same whether others are pretrained or not.
    used = {trial.stage} if trial.pretrained is None else {"pretrain", "finetune"}
    content = {
        "stage": stage,
        "vocabulary": changed.vocabulary.to_dict(),
        "model": changed.model.to_dict(),
        "evaluation": {
            **settings.decoding(),
            "seed": settings.seed,
            "precision": settings.precision,
        },
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


def end_token_offsets(config: ConfigDict, trial: Trial) -> tuple[float, ...]:
    """The offsets that a trial is evaluated with, 0 among them; none for pretraining."""
    usual = trial.num_bins == config.vocabulary.num_bins
    usual &= trial.order == config.finetune.sequence.order
    if trial.is_base:
        return ()
    more = config.ablation.end_token_offsets if usual else ()
    return tuple(dict.fromkeys((0.0, *map(float, more))))


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
    took = f"{duration_text(result.seconds)}"
    if not result.metrics:
        return f"done in {took}"
    numbers = result.metrics[0.0]
    return f"AP {numbers['AP']:.3f}  AR@100 {numbers['AR100']:.3f}  in {took}"
