"""The settings that follow from a data set, each with its reason and the number it follows from.

What the user gives stays, and what depends on it follows it: of a given image size the bins, of a
given number of steps the warm-up.
"""

import dataclasses
import functools
import math
import operator
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from pix2seq_model.data.dataset_scan import SIZE_UNITS, DatasetScan, SplitScan, quantile
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.validation import model_config, own_data_settings
from pix2seq_model.network.config import DROP_RATES, ModelConfig
from pix2seq_model.tokens.vocabulary import CLASS_SHIFT, TOKENS_PER_OBJECT, Vocabulary

STAGE = "finetune"
SCAN, GIVEN, CONFIG = "scan of the data", "command line", "config"

# Of images with objects, the share whose objects all fit into a sequence.
_SHARE_OF_IMAGES = 0.99
_OBJECTS_ROUNDED_TO = 5
# Room for classes that a later version of the data adds.
_CLASSES_ROUNDED_TO = 100
_WARMUP_SHARE = 10
_LOGS, _CHECKPOINTS, _EVALUATIONS = 40, 10, 5
_MOST_STEPS_PER_LOG, _MOST_STEPS_PER_CHECKPOINT = 100, 1000
_MOST_IMAGES_OF_AN_EVALUATION = 64
_AS_START = "as in start_from"
# What of a network may differ from the one that it starts from, or is chosen for the data.
_NOT_ARCHITECTURE = ("image_size", "max_seq_len", "attention_initializer", *DROP_RATES)


@dataclasses.dataclass(frozen=True)
class Choice:
    """The value of a setting, and why.

    Attributes:
      key: as "finetune.image_size".
      value: that holds.
      reason: in words, with the number it follows from.
      source: `SCAN`, `GIVEN` or `CONFIG`.
    """

    key: str
    value: Any
    reason: str
    source: str = SCAN


class _Choices:
    """The choices made so far; a setting that the user gave keeps its value."""

    def __init__(self, config: ConfigDict, given: Collection[str]):
        self.config, self.given = config, given
        self.made: list[Choice] = []

    def choose(self, key: str, value: Any, reason: str) -> Any:
        """Notes a choice; returns the value that holds."""
        if key not in self.given:
            self.made.append(Choice(key, value, reason))
            return value
        held = functools.reduce(operator.getitem, key.split("."), self.config)
        found = reason if held == value else f"the scan says {_shown(value)}: {reason}"
        self.made.append(Choice(key, held, f"given by you; {found}", GIVEN))
        return held

    def keep(self, key: str, value: Any, reason: str) -> None:
        """Notes what the config says itself."""
        source = GIVEN if key in self.given else CONFIG
        self.made.append(Choice(key, value, reason, source))


def choose_settings(
    config: ConfigDict,
    scan: DatasetScan,
    *,
    given: Collection[str],
    start: tuple[ModelConfig, Vocabulary] | None,
) -> list[Choice]:
    """The settings of the vocabulary, the network, fine-tuning and evaluation.

    Args:
      config: as the user overrode it.
      scan: of the data of fine-tuning; its training split has objects.
      given: settings that the user gave.
      start: architecture and vocabulary of what fine-tuning starts from; None: random weights.

    Raises:
      ConfigError: a given setting contradicts the architecture to start from, or the data.
    """
    choices = _Choices(config, given)
    train, val = scan.splits[config[STAGE].split], scan.splits[config.evaluation.split]
    _choose_network(choices, start)
    image_size = _choose_image_size(choices, train, start)
    _choose_vocabulary(choices, scan, start, side=max(image_size))
    _choose_objects(choices, [train, val], start)
    steps = _choose_steps(choices, train, math.prod(image_size))
    _choose_rate(choices, steps, trained=start is not None)
    _choose_intervals(choices, steps, val)
    return choices.made


def _choose_network(choices: _Choices, start: tuple[ModelConfig, Vocabulary] | None) -> None:
    config, place = choices.config, choices.config[STAGE].start_from
    if start is None:
        model, machine = model_config(config, STAGE), own_data_settings(config).machine
        reason = f"{_described(model)}; made for {machine}; starts from random weights"
        choices.keep("model", model.backbone, reason)
        return
    fields = {
        name: value
        for name, value in dataclasses.asdict(start[0]).items()
        if name not in _NOT_ARCHITECTURE
    }
    for name, value in fields.items():
        if (key := f"model.{name}") in choices.given and config.model[name] != value:
            raise ConfigError(
                f"{key}={config.model[name]} contradicts {STAGE}.start_from={place}, whose network "
                f"has {value}: leave one of the two out."
            )
        if config.model[name] != value:
            choices.choose(key, value, _AS_START)
    reason = f"{_described(start[0])}; {_AS_START}, {place}"
    choices.keep("model", start[0].backbone, reason)


def _described(model: ModelConfig) -> str:
    stem = f"ViT, patches of {model.patch_size} px"
    if model.backbone == "resnet":
        stem = f"ResNet-{model.resnet_depth} {model.resnet_variant}"
        stem += f", {model.resnet_width_multiplier:g} times as wide"
    return (
        f"{stem}; encoder {model.num_encoder_layers} x {model.dim_encoder}, "
        f"decoder {model.num_decoder_layers} x {model.dim_decoder}"
    )


def _choose_image_size(
    choices: _Choices, train: SplitScan, start: tuple[ModelConfig, Vocabulary] | None
) -> tuple[int, int]:
    settings, key = own_data_settings(choices.config), f"{STAGE}.image_size"
    if not train.sizes:
        side = settings.image_sides[len(settings.image_sides) // 2]
        reason = "no row of 'images' says the size of its image: the middle of own_data.image_sides"
        return choices.choose(key, (side, side), reason)
    share, own = quantile(train.sizes, 0.5) / SIZE_UNITS, quantile(train.sides, 0.5)
    wanted = settings.box_pixels / max(share, 1 / SIZE_UNITS)
    side = next((s for s in settings.image_sides if s >= min(wanted, own)), 0)
    side = side or settings.image_sides[-1]
    size = (side, side)
    why = f"{settings.box_pixels} px are wanted"
    if side < min(wanted, own):
        why += f", and this size of network goes up to {side}"
    elif wanted > own:
        why += f", but half of the images have at most {own} px themselves"
    if start is not None:
        size, why = start[0].image_size, f"{_AS_START}; {why}"
    return choices.choose(
        key,
        size,
        f"the median box is {share:.0%} of the image's longer side: {max(size)} px make it "
        f"{max(size) * share:.0f} px ({why})",
    )


def _choose_vocabulary(
    choices: _Choices,
    scan: DatasetScan,
    start: tuple[ModelConfig, Vocabulary] | None,
    *,
    side: int,
) -> None:
    highest, number = scan.max_category_id, len(scan.categories)
    needed = CLASS_SHIFT + highest + 1
    classes = "1 class" if number == 1 else f"{number:,} classes"
    if any("source_id" in row for row in scan.categories):
        classes += ", renumbered"
    bins, shift = side, math.ceil(needed / _CLASSES_ROUNDED_TO) * _CLASSES_ROUNDED_TO
    bins_reason = "one bin for each pixel of the network's image"
    shift_reason = f"{classes}, the highest id is {highest}; the rest is room for more"
    size_reason = "classes and coordinates"
    if start is not None:
        theirs = start[1]
        bins, bins_reason = theirs.num_bins, _AS_START
        if highest <= theirs.max_category_id:
            shift, shift_reason = theirs.coord_shift, f"{_AS_START}; {shift_reason}"
        else:
            shift_reason += f"; start_from has room for {theirs.max_category_id}: rows move"
    shift = choices.choose("vocabulary.coord_shift", shift, shift_reason)
    if shift < needed:
        raise ConfigError(
            f"vocabulary.coord_shift={shift} has no room for category id {highest} ({classes}): "
            f"give at least {needed}, or leave it to the scan."
        )
    bins = choices.choose("vocabulary.num_bins", bins, bins_reason)
    least = shift + bins
    if start is not None and (shift, bins) == (start[1].coord_shift, start[1].num_bins):
        least, size_reason = start[1].vocab_size, bins_reason
    choices.choose("vocabulary.vocab_size", least, size_reason)


def _choose_objects(
    choices: _Choices,
    splits: list[SplitScan],
    start: tuple[ModelConfig, Vocabulary] | None,
) -> None:
    """The same number for sequences and detections: positions beyond it are not trained."""
    limit = own_data_settings(choices.config).max_objects
    counts = [_without_empty(split.objects_per_image) for split in splits]
    most = max(quantile(of_split, _SHARE_OF_IMAGES) for of_split in counts)
    rounded = math.ceil(most / _OBJECTS_ROUNDED_TO) * _OBJECTS_ROUNDED_TO
    objects = min(rounded, limit)
    over = sum(max(0, number - objects) * images for number, images in counts[0].items())
    reason = f"{_SHARE_OF_IMAGES:.0%} of the images with objects have at most {most}, rounded up"
    if objects < rounded:
        reason += f", and own_data.max_objects is {limit}"
    reason += f"; {over:,} of {splits[0].objects:,} training boxes are beyond it" if over else ""
    held = choices.choose(f"{STAGE}.sequence.max_objects", objects, reason)
    found = choices.choose("evaluation.max_objects", held, "as in training")
    positions = TOKENS_PER_OBJECT * max(held, found)
    reason = f"{TOKENS_PER_OBJECT} tokens an object"
    if start is not None and start[0].max_seq_len >= positions:
        positions = start[0].max_seq_len
        reason = f"{_AS_START}, enough for {reason}"
    choices.choose("model.max_seq_len", positions, reason)


def _choose_steps(choices: _Choices, train: SplitScan, pixels: int) -> int:
    settings = own_data_settings(choices.config)
    parts = choices.config[STAGE].accumulation_steps
    batch = choices.choose(
        f"{STAGE}.batch_size",
        max(min(settings.batch_size, train.images) // parts, 1) * parts,
        f"{train.images:,} training images; own_data.batch_size is {settings.batch_size}",
    )
    if epochs := choices.config[STAGE].epochs:
        reason = f"{epochs:g} epochs of {train.images:,} images, {batch} a step"
        return choices.choose(f"{STAGE}.steps", steps_of(epochs, train.images, batch), reason)
    passes = _two_digits(settings.passes * train.images / batch)
    steps = min(max(passes, settings.min_steps), settings.max_steps)
    reason = f"{settings.passes} passes over {train.images:,} images, {batch} a step"
    if steps != passes:
        reason += f", within {settings.min_steps:,} to {settings.max_steps:,}"
    seconds = batch * pixels / 1e6 / settings.megapixels_per_second
    if settings.minutes and steps * seconds > 60 * settings.minutes:
        steps = _two_digits(60 * settings.minutes / seconds)
        reason = f"about {settings.minutes:g} minutes on {settings.machine}, {seconds:.2f} s a step"
    return choices.choose(f"{STAGE}.steps", steps, reason)


def steps_of(epochs: float, images: int, batch_size: int) -> int:
    """Steps in which so many images are seen so often, at least 1."""
    return max(1, math.ceil(epochs * images / batch_size))


def _choose_rate(choices: _Choices, steps: int, *, trained: bool) -> None:
    settings = own_data_settings(choices.config)
    warmup = min(steps // _WARMUP_SHARE, settings.warmup_steps)
    reason = f"a {_WARMUP_SHARE}th of the steps, at most {settings.warmup_steps:,}"
    choices.choose(f"{STAGE}.warmup_steps", warmup, reason)
    rate = settings.start_learning_rate if trained else settings.learning_rate
    start = "trained" if trained else "random"
    choices.choose(f"{STAGE}.learning_rate", rate, f"this size of network, {start} weights")
    precision = choices.config[STAGE].precision
    on = {"float32": "exact on any processor", "mixed_bfloat16": "fast on a GPU, not on a CPU"}
    choices.keep(f"{STAGE}.precision", precision, f"{on[precision]}; for {settings.machine}")


def _choose_intervals(choices: _Choices, steps: int, val: SplitScan) -> None:
    per_log = choices.choose(
        f"{STAGE}.steps_per_log",
        _round_number(steps // _LOGS, at_most=_MOST_STEPS_PER_LOG),
        f"about {_LOGS} points of a curve or more",
    )
    choices.choose(
        f"{STAGE}.checkpoint_every_steps",
        _round_number(steps // _CHECKPOINTS, at_most=_MOST_STEPS_PER_CHECKPOINT),
        f"at most a {_CHECKPOINTS}th of the training is lost with the machine",
    )
    choices.choose(
        f"{STAGE}.evaluate_every_steps",
        max(1, steps // _EVALUATIONS // per_log) * per_log,
        f"about {_EVALUATIONS} short evaluations",
    )
    choices.choose(
        f"{STAGE}.evaluate_images",
        min(val.images, _MOST_IMAGES_OF_AN_EVALUATION),
        f"of {val.images:,} in {choices.config.evaluation.split}",
    )


def _without_empty(objects_per_image: Mapping[int, int]) -> Counter[int]:
    return Counter({number: images for number, images in objects_per_image.items() if number})


def _two_digits(number: float) -> int:
    """The nearest whole number with two digits other than 0, at least 1."""
    return max(1, int(float(f"{number:.1e}")))


def _round_number(number: int, *, at_most: int) -> int:
    """The largest of 1, 2, 5, 10, 20, 50, ... that is no more than a number; at least 1."""
    number = max(1, min(number, at_most))
    power = 10 ** (len(str(number)) - 1)
    return max(factor * power for factor in (1, 2, 5) if factor * power <= number)


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
