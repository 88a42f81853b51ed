"""Data of a config that is recognised where the command is given, as the recipes are settled."""

import os
from collections.abc import Mapping, Sequence

from pix2seq_model.data.settings import ALL_SPLITS, AUTO, LABEL_FORMATS
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.loading import read_config
from pix2seq_model.training.settings import STAGES


def settle_data(name: str, overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Recognises the data of the stages whose format is "auto" or a labelling tool's.

    Args:
      name: Of the config.
      overrides: As given.

    Returns:
      The overrides with the place of each split in place of what was given; lines for the user.

    Raises:
      ConfigError: no place is given.
      DataError: a place is not there, or nobody can tell what is in it.
    """
    config = read_config(name, overrides)
    settled, notes = list(overrides), []
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
        from components.labels.layout import recognise_splits  # Imports Beam: takes a second.

        wanted = source.format if source.format != AUTO else ""
        layout = recognise_splits(images, annotations, wanted=wanted)
        notes += [f"data.{stage}: {line}" for line in layout.lines]
        found = {f"data.{stage}.format": layout.format}
        for kind in ("images", "annotations"):
            places = {split: "" for split, place in source[kind].items() if place}
            places |= {split: getattr(where, kind) for split, where in layout.splits.items()}
            found |= {f"data.{stage}.{kind}.{split}": place for split, place in places.items()}
        settled = [text for text in settled if text.partition("=")[0] not in found]
        settled += [f"{key}={value}" for key, value in found.items()]
    return settled, notes


def _places(given: Mapping[str, str]) -> dict[str, str]:
    """The places that are given, "" that of all splits."""
    return {
        "" if split == ALL_SPLITS else split: os.path.expanduser(place)
        for split, place in given.items()
        if place
    }
