"""Data of a config that is recognised where the command is given, as the recipes are settled."""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pix2seq_model.data.settings import ALL_SPLITS, AUTO, LABEL_FORMATS
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.experiment.loading import read_config
from pix2seq_model.experiment.own_data import STAGE as SCANNED_STAGE
from pix2seq_model.experiment.submission import Submission, load_for_submission
from pix2seq_model.experiment.validation import enabled_stages
from pix2seq_model.store_access import check_reachable
from pix2seq_model.training.settings import STAGES

if TYPE_CHECKING:
    from components.labels.layout import Layout


@dataclasses.dataclass(frozen=True)
class SettledData:
    """The data of a config, recognised.

    Attributes:
      overrides: as given, with the place of each split instead of the place of all.
      keys: of those that were found.
      notes: lines for the user.
      layouts: what was found, by stage.
    """

    overrides: list[str]
    keys: frozenset[str]
    notes: list[str]
    layouts: Mapping[str, "Layout"]


def load_submission(name: str, overrides: Sequence[str]) -> Submission:
    """Loads a config with all that is looked up where a command is given: data, scan, recipes.

    Raises:
      ConfigError, DataError, CheckpointError, ModelError: see `settle_data` and
        `load_for_submission`.
    """
    settled = settle_data(name, overrides)
    with tempfile.TemporaryDirectory() as scratch:
        submission = load_for_submission(
            name,
            settled.overrides,
            annotation_files=_annotation_files(name, settled, scratch),
            recognised=settled.keys,
        )
    return dataclasses.replace(submission, notes=(*settled.notes, *submission.notes))


def _annotation_files(name: str, settled: SettledData, folder: str) -> dict[str, dict[str, str]]:
    """Annotation files in COCO's format, by stage and split, where something is counted in them."""
    files = {}
    config = read_config(name, settled.overrides)
    for stage, layout in settled.layouts.items():
        is_scanned = stage == SCANNED_STAGE and config.own_data.scan
        if not is_scanned and not config[stage].epochs:
            continue
        from components.labels.layout import coco_file

        files[stage] = {
            split: coco_file(source, split, output=f"{folder}/{stage}")
            for split, source in layout.splits.items()
            if is_scanned or split == config[stage].split
        }
    return files


def settle_data(name: str, overrides: Sequence[str]) -> SettledData:
    """Recognises the data of the stages whose format is "auto" or a labelling tool's.

    Args:
      name: of the config.
      overrides: as given.

    Raises:
      ConfigError: no place is given.
      DataError: a place is not there, nobody can tell what is in it, or it has no splits.
      UnavailableError: a place is in a bucket, and there is no network.
    """
    config = read_config(name, overrides)
    settled, notes, layouts = list(overrides), [], {}
    keys: set[str] = set()
    for stage in STAGES:
        source = config.data[stage]
        if not config[stage].enabled or source.format not in (AUTO, *LABEL_FORMATS):
            continue
        images, annotations = _places(source.images), _places(source.annotations)
        if "" in images:  # What the config's file says of single splits is another data set.
            images, annotations = ({"": places.get("", "")} for places in (images, annotations))
        if not images:
            raise ConfigError(
                f"data.{stage}.images.{ALL_SPLITS} is missing: give the folder of your data set, "
                f"--config.data.{stage}.images.{ALL_SPLITS}=FOLDER, or one for each split"
            )
        for kind, given in (("images", images), ("annotations", annotations)):
            for split, place in given.items():
                check_reachable(place, f"data.{stage}.{kind}.{split or ALL_SPLITS}")
        from components.labels.layout import recognise_splits  # Imports Beam: takes a second.

        wanted = source.format if source.format != AUTO else ""
        layout = recognise_splits(images, annotations, wanted=wanted)
        if not layout.names_splits and stage == enabled_stages(config)[-1]:
            _need_split(config.evaluation.split, layout, annotations.get("") or images[""], stage)
        notes += [f"data.{stage}: {line}" for line in layout.lines]
        layouts[stage] = layout
        found = {f"data.{stage}.format": layout.format}
        for kind in ("images", "annotations"):
            places = {split: "" for split, place in source[kind].items() if place}
            places |= {split: getattr(where, kind) for split, where in layout.splits.items()}
            found |= {f"data.{stage}.{kind}.{split}": place for split, place in places.items()}
        settled = [text for text in settled if text.partition("=")[0] not in found]
        settled += [f"{key}={value}" for key, value in found.items()]
        keys |= found.keys()
    return SettledData(settled, frozenset(keys), notes, layouts)


def _need_split(split: str, layout: "Layout", folder: str, stage: str) -> None:
    """
    Raises:
      DataError: a run measures on this split, and the data set has none at all.
    """
    if split not in layout.splits:
        raise DataError(
            f"{folder} has no splits, and a run measures on {split!r}, which training does not "
            f"see: make them, `python pipelines/split_dataset.py --images={folder} "
            f"--output=splits`, and give --config.data.{stage}.annotations.{ALL_SPLITS}=splits "
            "as well"
        )


def _places(given: Mapping[str, str]) -> dict[str, str]:
    """The places that are given, "" that of all splits."""
    return {"" if split == ALL_SPLITS else split: place for split, place in given.items() if place}
