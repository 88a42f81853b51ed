"""What a training run is asked to do, checked when it is put together. Needs no TensorFlow."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from pix2seq_model.errors import ConfigError
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.input_pipeline.settings import IMAGE_DTYPES, Augmentation
from pix2seq_model.network.checkpointing import NONE, WAYS, way
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.setting_checks import MAX_SEED, check_settings, setting
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary

STAGES = ("pretrain", "finetune")
# What may be frozen.
NOTHING, BACKBONE, ENCODER = "none", "backbone", "encoder"
# What a training may be logged to.
LOGGERS = TENSORBOARD, MLFLOW, WANDB = "tensorboard", "mlflow", "wandb"
_LOGIN = re.compile("://[^/]*@")
# Settings of a stage that do not change the weights that come out, but for rounding (of
# activation_checkpointing, which computes a large MLP in blocks): a run may continue with others.
WATCHING_SETTINGS = (
    *("steps_per_log", "checkpoint_every_steps", "checkpoint_every_minutes", "keep_checkpoints"),
    *("max_skipped_batches", "activation_checkpointing"),
)
# Those of the evaluations, which change no weight: only whether it is the last.
_EARLY_STOPPING = ("early_stopping_patience", "early_stopping_metric", "early_stopping_min_delta")
# With which evaluations there are; where the best of them is kept, that is part of the run.
_EVALUATIONS = ("evaluate_every_steps", "evaluate_images")
ENDING_SETTINGS = (*_EARLY_STOPPING, *_EVALUATIONS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSettings:
    """One training stage. A step is an update of the weights.

    Attributes:
      split: of the examples.
      image_size: height and width of the input in pixels.
      image_dtype: what images travel to the devices as. "uint8": rounded to 256 levels after they
        were resized, and floats on the device: a quarter of the memory and of the bytes to send.
        "float32": not rounded, as published.
      batch_size: images of a step, over all devices and hosts.
      steps: of the whole stage.
      learning_rate: after the warm-up.
      schedule: of the learning rate after the warm-up: "linear", "cosine" or "constant".
      warmup_steps: in which the learning rate rises from 0.
      end_factor: of the learning rate, at the last step.
      weight_decay: of AdamW.
      weight_decay_exclude: regular expressions; weights whose path matches one do not decay, as
        ("bias", "norm").
      beta_2: of AdamW.
      clip_norm: largest global norm of the gradients; 0 is off.
      ema_decay: of the weights' moving average, per step; 0 is off.
      label_smoothing: share of the target that is spread over all tokens.
      accumulation_steps: batches whose gradients are added up for one step, batch_size being all
        of them together.
      max_skipped_batches: batches with a loss or gradient that is not finite, after which
        training stops; and as many images that cannot be decoded.
      precision: "float32" or "mixed_bfloat16".
      activation_checkpointing: which activations inside layers are computed again for the
        gradients, for less memory and more time: "none"; "products", all but what dense layers and
        convolutions give; or "layers", all. True and False are "layers" and "none".
      jit_compile: "auto", "on" or "off": XLA, on TensorFlow. Auto is on where there is an
        accelerator; large networks train faster without it where there is none. JAX always
        compiles.
      steps_per_log: steps between two rows of the log.
      checkpoint_every_steps: steps from one checkpoint to the next, at most.
      checkpoint_every_minutes: minutes from one to the next, at most; 0 is off.
      keep_checkpoints: how many of the latest stay.
      evaluate_every_steps: steps between short evaluations while training, on images of the
        evaluation's split and with its batch size, precision and decoding; a multiple of
        steps_per_log; 0 is off.
      evaluate_images: how many images these take.
      keep_best: the weights of the best of these evaluations instead of the last, of equal ones the
        later; the last where AP cannot be measured on these images.
      validation_loss: these evaluations measure the loss on their images too.
      early_stopping_patience: training stops after so many of these evaluations in a row that are
        not better than the best; 0 is off.
      early_stopping_metric: that is watched: "AP" or "validation_loss".
      early_stopping_min_delta: by how much it must be better to count.
      shuffle_buffer: examples that the order of the input is drawn from.
      drop_empty_images: leaves out images without annotations, as published; those with crowds
        alone stay. Evaluation has all.
      freeze: what keeps its weights and batch statistics: "none"; "backbone", the ResNet or the
        embedding of patches below the encoder's transformer; or "encoder", all of it. Nothing
        drops in it, and it has no part in the optimizer's state, weight decay or moving average.
      repeat_threshold: class-balanced sampling: share of the images below which a class is rare,
        and its images are shown more often, by the repeat factors of LVIS (0.001 there), see
        `input_pipeline.class_balance`; 0 is off.
      augmentation: of the images.
      sequence: of the objects.

    Raises:
      ConfigError: a value that cannot work.
    """

    split: str = "train"
    image_size: tuple[int, int] = setting((640, 640), at_least=1)
    image_dtype: str = setting("uint8", one_of=IMAGE_DTYPES)
    batch_size: int = setting(128, at_least=1)
    steps: int = setting(100_000, at_least=1)
    learning_rate: float = setting(1e-4, above=0)
    schedule: str = setting("linear", one_of=("linear", "cosine", "constant"))
    warmup_steps: int = setting(0, at_least=0)
    end_factor: float = setting(0.01, at_least=0, at_most=1)
    weight_decay: float = setting(0.05, at_least=0)
    weight_decay_exclude: tuple[str, ...] = ()
    beta_2: float = setting(0.95, at_least=0, below=1)
    clip_norm: float = setting(0.0, at_least=0)
    ema_decay: float = setting(0.0, at_least=0, below=1)
    label_smoothing: float = setting(0.0, at_least=0, below=1)
    accumulation_steps: int = setting(1, at_least=1)
    max_skipped_batches: int = setting(20, at_least=0)
    precision: str = setting("float32", one_of=("float32", "mixed_bfloat16"))
    activation_checkpointing: str = setting(NONE, one_of=WAYS)
    jit_compile: str = setting("auto", one_of=("auto", "on", "off"))
    steps_per_log: int = setting(100, at_least=1)
    checkpoint_every_steps: int = setting(1000, at_least=1)
    checkpoint_every_minutes: float = setting(15.0, at_least=0)
    keep_checkpoints: int = setting(3, at_least=1)
    evaluate_every_steps: int = setting(0, at_least=0)
    evaluate_images: int = setting(64, at_least=1)
    validation_loss: bool = True
    keep_best: bool = False
    early_stopping_patience: int = setting(0, at_least=0)
    early_stopping_metric: str = setting("AP", one_of=("AP", "validation_loss"))
    early_stopping_min_delta: float = setting(0.0, at_least=0)
    shuffle_buffer: int = setting(2048, at_least=1)
    drop_empty_images: bool = False
    freeze: str = setting(NOTHING, one_of=(NOTHING, BACKBONE, ENCODER))
    repeat_threshold: float = setting(0.0, at_least=0, at_most=1)
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    sequence: SequenceSettings = dataclasses.field(default_factory=SequenceSettings)

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation_checkpointing", way(self.activation_checkpointing))
        check_settings(self)
        for pattern in self.weight_decay_exclude:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"weight_decay_exclude: {pattern!r} is no regular expression ({error})."
                ) from error
        if self.warmup_steps > self.steps:
            raise ConfigError(
                f"warmup_steps={self.warmup_steps} must be at most steps={self.steps}."
            )
        self._check_multiple("batch_size", "accumulation_steps")
        self._check_multiple("evaluate_every_steps", "steps_per_log")
        if self.keep_best and not self.evaluate_every_steps:
            raise ConfigError(
                "keep_best=True needs evaluations while training: set evaluate_every_steps."
            )

        self._check_early_stopping()

    def _check_early_stopping(self) -> None:
        if not self.early_stopping_patience:
            return
        if not self.evaluate_every_steps:
            raise ConfigError(
                f"early_stopping_patience={self.early_stopping_patience} needs evaluations while "
                "training: set evaluate_every_steps."
            )
        if self.early_stopping_metric == "validation_loss" and not self.validation_loss:
            raise ConfigError(
                "early_stopping_metric=validation_loss needs that loss: set validation_loss=True, "
                "or early_stopping_metric=AP."
            )

    def _check_multiple(self, name: str, of: str) -> None:
        """Raises ConfigError unless one count is a multiple of another."""
        value, part = getattr(self, name), getattr(self, of)
        if value % part:
            nearest = nearest_multiples(value, part)
            raise ConfigError(f"{name}={value} is no multiple of {of}={part}: choose {nearest}.")

    @property
    def images_per_batch(self) -> int:
        """Images whose gradients are computed together."""
        return self.batch_size // self.accumulation_steps


def outside_the_run(*, keep_best: bool) -> tuple[str, ...]:
    """Settings of a stage with which a run that was begun with others may continue.

    They decide no weight of any step; early stopping decides which step is the last.

    Args:
      keep_best: setting of the stage: the best of the evaluations so far is part of the run.
    """
    evaluations = () if keep_best else _EVALUATIONS
    return (*WATCHING_SETTINGS, "validation_loss", *_EARLY_STOPPING, *evaluations)


def early_stopping_of(settings: "StageSettings") -> dict[str, Any]:
    """What decides when a training ends early, by the settings' names; empty: nothing."""
    if not settings.early_stopping_patience:
        return {}
    return {name: getattr(settings, name) for name in _EARLY_STOPPING}


def evaluations_decide_weights(settings: Any) -> bool:
    """Whether what is measured while training decides the weights that come out at its end.

    Args:
      settings: a `StageSettings`, or the section of a config that it is made from.
    """
    return bool(
        settings.evaluate_every_steps and (settings.keep_best or settings.early_stopping_patience)
    )


def check_freeze(stage: str, freeze: str, *, has_start: bool) -> None:
    """Raises ConfigError where weights are to stay that nobody has trained.

    Args:
      stage: its name.
      freeze: its setting.
      has_start: whether it starts from a model.
    """
    if freeze != NOTHING and not has_start:
        raise ConfigError(
            f"{stage}.freeze={freeze} would keep random weights: give a model to start from by "
            f"{stage}.start_from, or set {stage}.freeze={NOTHING}."
        )


def nearest_multiples(value: int, part: int) -> str:
    """The multiples of `part` next to `value` that are more than 0, for a message."""
    below = value // part * part
    return f"{below} or {below + part}" if below else f"{part}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoggingSettings:
    """Where the log of a training goes; decides nothing of what is trained.

    Attributes:
      loggers: of "tensorboard", "mlflow" and "wandb" (Weights & Biases), any. MLflow and W&B take
        packages of their own, `pip install '.[mlflow]'` and `'.[wandb]'`; a log-in is read from
        their own environment variables.
      project: that runs are put into: W&B's project, MLflow's experiment.
      run_name: for people; empty: the config's name and the stage.
      mlflow_tracking_uri: of MLflow's server or store; empty: that of MLFLOW_TRACKING_URI.

    Raises:
      ConfigError: a value that cannot work.
    """

    loggers: tuple[str, ...] = setting((TENSORBOARD,), one_of=LOGGERS)
    project: str = "pix2seq"
    run_name: str = ""
    mlflow_tracking_uri: str = ""

    def __post_init__(self) -> None:
        check_settings(self, "logging")
        if not self.project.strip():
            raise ConfigError("logging.project is empty: give a name, as logging.project=pix2seq.")
        if _LOGIN.search(self.mlflow_tracking_uri):
            raise ConfigError(
                "logging.mlflow_tracking_uri holds a log-in, and would be written down in the "
                "run's record: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """All that `train` is told about what to train.

    Attributes:
      name: of the experiment.
      stage: "pretrain" or "finetune".
      seed: of the weights, the examples' order and all else that is drawn.
      vocabulary: the token ids.
      model: the architecture, at the stage's image size.
      settings: of the stage.
      evaluation: of the short evaluations while training, and how the model is said to decode.
      logging: where the log goes.
      config: the whole config as plain values, for the record of the run.

    Raises:
      ConfigError: values that cannot work, or not together.
    """

    name: str
    stage: str = setting(dataclasses.MISSING, one_of=STAGES)
    seed: int = setting(dataclasses.MISSING, at_least=0, at_most=MAX_SEED)
    vocabulary: Vocabulary
    model: ModelConfig
    settings: StageSettings
    evaluation: EvaluationSettings
    logging: LoggingSettings = dataclasses.field(default_factory=LoggingSettings)
    config: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_settings(self)
        max_objects = self.settings.sequence.max_objects
        self.model.check_positions(f"{self.stage}.sequence.max_objects", max_objects)
        self.model.check_positions("evaluation.max_objects", self.evaluation.max_objects)
