"""The recipe of a published checkpoint in the settings of a stage (`StageSource.recipe`).

It is looked up once, where a command is given. A remote step is handed what came out as overrides.
"""

import functools
import operator
from collections.abc import Sequence

from ml_collections import ConfigDict

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.loading import load_config, read_config
from pix2seq_model.experiment.validation import model_config
from pix2seq_model.published.locations import PUBLISHED_CHECKPOINTS
from pix2seq_model.published.recipe import read_recipe, stage_recipe
from pix2seq_model.training.settings import STAGES

PUBLISHED = "published"
_DATA = {"pretrain": "objects365", "finetune": "coco"}


def load_with_recipes(
    name: str, overrides: Sequence[str], *, below: Sequence[str] = ()
) -> tuple[ConfigDict, list[str], list[str]]:
    """Loads a config as `load_config` does, with the recipes that its stages name.

    What an override sets stays; all else that a recipe says replaces what the config says.

    Args:
      name: of the config.
      overrides: of the user.
      below: overrides that a recipe replaces.

    Returns:
      The config; overrides with which `load_config` gives it again; and lines for the user: what
      was taken, what was not.

    Raises:
      ConfigError: as `load_config`; or no published checkpoint is of a stage's architecture.
      CheckpointError: a recipe cannot be read, or has what this project has not.
      UnavailableError: it is in a bucket that cannot be reached.
    """
    config = read_config(name, [*below, *overrides])
    given = {override.partition("=")[0] for override in overrides}
    recipes: dict[str, object] = {}
    notes = []
    for stage in STAGES:
        if config[stage].enabled and config[stage].recipe:
            place = _place(config, stage)
            settings, others = stage_recipe(read_recipe(place), stage, source=place)
            recipes |= {f"{stage}.{field}": value for field, value in settings.items()}
            notes += [f"{stage}: the recipe of {place}", *(f"  {line}" for line in others)]
    taken = [f"{key}={value}" for key, value in recipes.items() if key not in given]
    resolved = [*below, *taken, *overrides]
    loaded = load_config(name, resolved)
    for key, value in recipes.items():
        ours = functools.reduce(operator.getitem, key.split("."), loaded)
        notes.append(f"  {key}={ours}" + (f", not {value}: given by you" if key in given else ""))
    return loaded, resolved, notes


def _place(config: ConfigDict, stage: str) -> str:
    recipe = config[stage].recipe
    if recipe != PUBLISHED:
        return recipe
    model = model_config(config, stage)
    height, width = model.image_size
    place = PUBLISHED_CHECKPOINTS.get((str(model.published_name()), _DATA[stage], height))
    if height != width or place is None:
        raise ConfigError(
            f"{stage}.recipe={PUBLISHED}: no published checkpoint is of this architecture at "
            f"{height} x {width} px and of this stage; name the folder of the one to follow."
        )
    return place
