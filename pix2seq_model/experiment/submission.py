"""A config as a command is given it: what stands elsewhere is looked up once, here.

The recipe of a checkpoint, the newest version in a folder of pushed models, and what follows from
the annotation files, become overrides; a remote step is handed these and looks up nothing.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from pix2seq_model.data.dataset_scan import DatasetScan, scan_dataset
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.experiment.data_warnings import check_boxes, class_warnings, length_warnings
from pix2seq_model.experiment.loading import load_config, read_config
from pix2seq_model.experiment.own_data import SCAN, STAGE, Choice, choose_settings, steps_of
from pix2seq_model.experiment.recipes import load_with_recipes
from pix2seq_model.experiment.start_model import pushed_start, read_start
from pix2seq_model.experiment.validation import (
    enabled_stages,
    own_data_settings,
    vocabulary,
)
from pix2seq_model.store_access import check_reachable
from pix2seq_model.tokens.vocabulary import CLASS_SHIFT, Vocabulary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Submission:
    """An experiment, ready to run.

    Attributes:
      config: loaded, locked, checked.
      overrides: with which `load_config` gives it again.
      notes: lines for the user: what was taken from recipes, what was not.
      choices: what follows from the data, with reasons; empty where nothing is asked of them.
      warnings: what may be wrong with the data, each with a fix.
      scan: the counts that the choices follow from.
      recognised: settings that were found by looking into a folder.
    """

    config: ConfigDict
    overrides: tuple[str, ...]
    notes: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    warnings: tuple[str, ...] = ()
    scan: DatasetScan | None = None
    recognised: frozenset[str] = frozenset()

    @property
    def scanned(self) -> frozenset[str]:
        """The settings that the scan set."""
        return frozenset(choice.key for choice in self.choices if choice.source == SCAN)

    def scan_json(self) -> dict[str, Any]:
        """The scan, what was chosen from it and why, and the warnings, as plain values; or {}."""
        if self.scan is None:
            return {}
        return {
            "settings": [dataclasses.asdict(choice) for choice in self.choices],
            "warnings": list(self.warnings),
            **self.scan.to_json(),
        }


def load_for_submission(
    name: str,
    overrides: Sequence[str],
    *,
    annotation_files: Mapping[str, Mapping[str, str]] | None = None,
    recognised: Collection[str] = (),
) -> Submission:
    """Loads a config as `load_config` does, with its recipes and what a scan of its data settles.

    What an override sets stays.

    Args:
      name: of the config.
      overrides: of the user.
      annotation_files: by stage and split, in COCO's format, where the data are in another one.
      recognised: those of the overrides that were found by looking into a folder.

    Raises:
      ConfigError: as `load_config`; or a setting contradicts what was looked up.
      DataError: the data cannot be read, or nothing can be learned or measured on them.
      CheckpointError, ModelError: a recipe or a model to start from cannot be used.
    """
    config = read_config(name, overrides)
    starts = [*_pushed_starts(config)]
    overrides = [*overrides, *(override for override, _ in starts)]
    config = read_config(name, overrides) if starts else config
    files = annotation_files or {}
    scan, choices, warnings = None, [], []
    if "own_data" in config and config.own_data.scan:
        given = {override.partition("=")[0] for override in overrides}
        scan = _scan(config, given, files.get(STAGE))
        place = config[STAGE].start_from
        start = read_start(place, f"{STAGE}.start_from") if place else None
        choices = choose_settings(config, scan, given=given, start=start)
        warnings = [*_warnings(config, scan, choices)]
    settled = [f"{choice.key}={choice.value}" for choice in choices if choice.source == SCAN]
    config, all_overrides, notes = load_with_recipes(name, overrides, below=settled)
    notes = [*(note for _, note in starts), *notes]
    counted = [*_steps_of_epochs(config, overrides, settled, files)]
    if counted:
        all_overrides += [override for override, _ in counted]
        notes += [note for _, note in counted]
        config = load_config(name, all_overrides)
    if scan is not None:
        warnings += length_warnings(config, STAGE, scan.splits[config[STAGE].split])
    return Submission(
        config=config,
        overrides=tuple(all_overrides),
        notes=tuple(notes),
        choices=tuple(choices),
        warnings=tuple(warnings),
        scan=scan,
        recognised=frozenset(recognised),
    )


def _pushed_starts(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """Overrides of starts that are folders of pushed models, each with a note."""
    for stage in enabled_stages(config):
        key, place = f"{stage}.start_from", config[stage].start_from
        if version := pushed_start(place):
            yield f"{key}={version}", f"{key}={place}: the newest version there, {version}"


def _steps_of_epochs(
    config: ConfigDict,
    given: Sequence[str],
    settled: Sequence[str],
    annotation_files: Mapping[str, Mapping[str, str]],
) -> Iterator[tuple[str, str]]:
    """Overrides of the steps of stages whose length is given in epochs, each with a note."""
    given_keys = {override.partition("=")[0] for override in given}
    settled_keys = {override.partition("=")[0] for override in settled}
    for stage in enabled_stages(config):
        settings, key = config[stage], f"{stage}.steps"
        if not settings.epochs or key in settled_keys:
            continue
        if key in given_keys:
            if f"{stage}.epochs" in given_keys:
                raise ConfigError(f"{key} and {stage}.epochs are two lengths: give one of them.")
            yield f"{stage}.epochs=0", f"{key}={settings.steps}, given by you; not {stage}.epochs"
            continue
        files = annotation_files.get(stage) or config.data[stage].annotations
        place = files[settings.split]
        limit = vocabulary(config).max_category_id
        try:
            scan = scan_dataset({settings.split: place}, max_category_id=limit)
        except DataError as error:
            raise DataError(f"data.{stage}.annotations: {error}") from None
        split = scan.splits[settings.split]
        images = split.images - settings.drop_empty_images * split.objects_per_image[0]
        steps = steps_of(settings.epochs, images, settings.batch_size)
        yield (
            f"{key}={steps}",
            f"{key}={steps}: {settings.epochs:g} epochs of {images:,} images, "
            f"{settings.batch_size} a step",
        )


def _scan(
    config: ConfigDict, given: set[str], annotation_files: Mapping[str, str] | None
) -> DatasetScan:
    own_data_settings(config)
    source = config.data[STAGE]
    if config.pretrain.enabled:
        raise ConfigError(
            f"own_data.scan settles {STAGE} alone, but pretrain.enabled is true: pretrain in a run "
            f"of its own and name its model with {STAGE}.start_from, or set own_data.scan=False."
        )
    files = dict(annotation_files or {})
    files = files or {split: place for split, place in source.annotations.items() if place}
    for section, split in ((STAGE, config[STAGE].split), ("evaluation", config.evaluation.split)):
        if split not in files:
            raise ConfigError(
                f"data.{STAGE}.annotations.{split} is empty ({section}.split={split}), and the "
                "settings follow from the annotation files: give --config.data."
                f"{STAGE}.images.{split}=FOLDER --config.data.{STAGE}.annotations.{split}=FILE."
            )
    limit = Vocabulary().max_category_id
    if "vocabulary.coord_shift" in given:
        limit = config.vocabulary.coord_shift - CLASS_SHIFT - 1
    unwanted = {"drop_fake": source.drop_fake, "drop_reflected": source.drop_reflected}
    for split, place in files.items():
        check_reachable(place, f"data.{STAGE}.annotations.{split}")
    try:
        scan = scan_dataset(files, max_category_id=limit, **unwanted)
    except DataError as error:  # Its message begins with the file.
        raise DataError(f"data.{STAGE}.annotations: {error}") from None
    wanted = {config.evaluation.split: "measure", config[STAGE].split: "learn"}
    named = {split: f"data.{STAGE}.annotations.{split}={file}" for split, file in files.items()}
    check_boxes(scan, wanted, named)
    return scan


def _warnings(config: ConfigDict, scan: DatasetScan, choices: Sequence[Choice]) -> Iterator[str]:
    split = config[STAGE].split
    train = scan.splits[split]
    held = {choice.key: choice.value for choice in choices}
    yield from class_warnings(scan, split)
    batch, usual = held[f"{STAGE}.batch_size"], config.own_data.batch_size
    if train.images < max(batch, usual):
        then = "is smaller" if batch <= train.images else "has some of them twice"
        yield (
            f"{split} has {train.images:,} images, fewer than a batch of {max(batch, usual)}: "
            f"{STAGE}.batch_size={batch} {then}; label more images"
        )
    limit = config.data[STAGE].max_defect_fraction
    for name, counts in scan.splits.items():
        aside = sum(n for rule, n in counts.set_aside.items() if not rule.startswith("image_"))
        if aside > limit * (aside + counts.objects + counts.crowds):
            yield (
                f"{name}: {aside:,} boxes are set aside, and the conversion refuses more than "
                f"{limit:.0%}; `python pipelines/check_dataset.py` shows which"
            )
