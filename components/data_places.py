"""Where a data set is: what the config says, or what a submission of the job says instead."""

import re
from collections.abc import Mapping
from typing import Any

from pix2seq_model.data.settings import ALL_SPLITS, DataSettings
from pix2seq_model.errors import ConfigError
from pix2seq_model.setting_checks import build_settings

_PLACE = re.compile(r"(images|annotations)\.(\w+)")
# Of a converted section besides the settings.
_NO_SETTING = "max_category_id"


def with_places(source: Mapping[str, Any], section: str, given: str) -> dict[str, Any]:
    """A `data` section with other places.

    Args:
      source: the section.
      section: its name, such as "data.finetune".
      given: like "data.finetune.images.train=gs://bucket/train", between blanks.

    Raises:
      ConfigError: it names something else than a place, or the places do not fit together.
    """
    if not given.split():
        return {**source}
    changed = {**source, "images": {**source["images"]}, "annotations": {**source["annotations"]}}
    for override in given.split():
        name, equals, place = override.partition("=")
        match = _PLACE.fullmatch(name.removeprefix(f"{section}."))
        if not (equals and match and name.startswith(f"{section}.")):
            raise ConfigError(
                f"{override!r} names no place of this data set: write {section}.images.train=..., "
                f"{section}.annotations.train=... and the like, between blanks."
            )
        changed[match[1]][match[2]] = place
    settings = {name: value for name, value in changed.items() if name != _NO_SETTING}
    build_settings(DataSettings, settings, section, prefix=f"{section}.")
    return changed


def given_place(setting: str, given: str) -> str:
    """The place that a submission gives a setting; "" if it gives none."""
    found = [o.partition("=")[2] for o in given.split() if o.startswith(f"{setting}=")]
    return found[-1] if found else ""


def places_of(source: Mapping[str, Any], section: str) -> dict[str, str]:
    """The places that a conversion of a `data` section reads, by their settings' names."""
    return {
        f"{section}.{kind}.{split}": source[kind][split]
        for split, annotations in source["annotations"].items()
        if annotations and split != ALL_SPLITS
        for kind in ("images", "annotations")
    }
