"""The paper's ablations: which training runs they need, and how each is trained and evaluated.

Three questions (arXiv:2109.10852, section 4 of the paper): how many bins a coordinate needs, in
which order the objects should stand, and what the noise objects of the training sequences
bring; without them the end token is made less likely while decoding.

<output>/trials/<name>/model/        weights
<output>/trials/<name>/result.json   numbers; written last: with it the trial is complete
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from pix2seq_model.ablation.settings import AblationSettings
from pix2seq_model.atomic_write import write_json
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.experiment import validation as experiment
from pix2seq_model.json_file import read_json
from pix2seq_model.setting_checks import build_settings

RESULT_FILE = "result.json"
TRIALS_FOLDER = "trials"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run.

    Attributes:
      num_bins: bins of a coordinate.
      order: of the objects, one of `tokens.settings.ORDERS`.
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
    """The result of a trial.

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


def ablation_settings(config: ConfigDict) -> AblationSettings:
    """The `ablation` section of a config.

    Raises:
      ConfigError: there is none, or it cannot work, or not with the other sections.
    """
    section = config.get("ablation")
    if section is None:
        raise ConfigError(
            f"the config {config.name!r} has no section `ablation`: start from configs/ablation.py"
        )
    settings = build_settings(AblationSettings, section.to_dict(), "ablation")
    vocabulary = experiment.vocabulary(config)
    most_bins = vocabulary.vocab_size - vocabulary.coord_shift
    if max(settings.bins, default=0) > most_bins:
        raise ConfigError(
            f"ablation.bins={settings.bins} must be at most vocabulary.vocab_size - coord_shift = "
            f"{most_bins}: all trials have one vocabulary, large enough for the most bins."
        )
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
    if not config.finetune.enabled or (settings.pretrained and not config.pretrain.enabled):
        raise ConfigError(
            "ablation: every trial is trained by the section `finetune`, and those of "
            "ablation.pretrained start from one trained by `pretrain`: enable what is needed."
        )
    return settings


def plan_trials(config: ConfigDict) -> list[Trial]:
    """All trials, each once: bins and orders seed by seed, then pretraining and the noise objects.

    A trial that several questions need (the config's own bins and order, with noise) is one trial.
    Without end_token_offsets the third question is not asked.

    Raises:
      ConfigError: see `ablation_settings`; or a trial cannot be trained, and which.
    """
    section = ablation_settings(config)
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
    bases = {before for before, _ in section.starts if before is not None}
    trials += [
        usual(augmented=augmented, seed=section.seeds[0], is_base=True)
        for augmented in sorted(bases, reverse=True)
    ]
    trials += [
        usual(pretrained=before, augmented=augmented, seed=seed)
        for seed in section.seeds
        for before, augmented in section.starts
    ]
    for trial in trials:
        try:
            experiment.training_run(trial_config(config, trial), trial.stage)
        except ConfigError as error:
            raise ConfigError(f"trial {trial.name}: {error}") from None
    return list(dict.fromkeys(trials))


def stages_of(trials: Sequence[Trial]) -> tuple[str, ...]:
    """The sections of the config that train them; their data are needed."""
    return tuple(dict.fromkeys(trial.stage for trial in trials))


def base_of(trial: Trial, trials: Sequence[Trial]) -> Trial | None:
    """The trial that this one takes its first weights from, if any."""
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


def read_result(folder: epath.Path) -> TrialResult | None:
    """The result of a finished trial; None if it is not finished.

    Raises:
      DataError: the file is damaged.
    """
    path = folder / RESULT_FILE
    if not path.exists():
        return None
    fix = "delete it to do the trial again"
    try:
        return TrialResult.from_json(read_json(path, fix=fix, kind=dict))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); {fix}") from error


def write_result(folder: epath.Path, result: TrialResult) -> None:
    """Writes a finished trial's result."""
    write_json(folder / RESULT_FILE, result.to_json())


def end_token_offsets(config: ConfigDict, trial: Trial) -> tuple[float, ...]:
    """The offsets that a trial is evaluated with, 0 among them; none for pretraining."""
    usual = trial.num_bins == config.vocabulary.num_bins
    usual &= trial.order == config.finetune.sequence.order
    if trial.is_base:
        return ()
    more = ablation_settings(config).end_token_offsets if usual else ()
    return tuple(dict.fromkeys((0.0, *map(float, more))))
