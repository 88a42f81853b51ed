"""Turns a published checkpoint into a model folder: to fine-tune from, to evaluate, to serve."""

import dataclasses
import os
from typing import Any

from etils import epath

from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.manifest import FILE_NAME as DATASET_INFO_FILE
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import MOST_LABEL_BYTES, read_json
from pix2seq_model.model_folder.folder import ModelInfo, save_model_folder
from pix2seq_model.published.checkpoint import PublishedModel, load_published_checkpoint
from pix2seq_model.published.coco_categories import COCO_CATEGORIES
from pix2seq_model.published.locations import PUBLISHED_CHECKPOINTS, RECIPE_FILE
from pix2seq_model.published.recipe import SECTIONS
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT

REPORT_FILE = "import.json"
_PUBLISHED_OBJECTS = 100


def import_checkpoint(
    location: str,
    output: str,
    *,
    image_size: tuple[int, int] | None = None,
    categories: str = "",
    allow_missing: bool = False,
    allow_unused: bool = False,
) -> PublishedModel:
    """Writes a model folder from a published checkpoint.

    Args:
      location: folder or prefix of the checkpoint's files, local or gs://.
      output: the model folder to write. `import.json` in it has the result for every weight,
        `published_recipe.json` how the checkpoint says it was trained.
      image_size: (height, width) in pixels; the checkpoint's if None.
      categories: where the categories' names are: an examples folder or an annotation file in
        COCO's format. Empty: those of COCO for the published checkpoints that were fine-tuned on
        it, none otherwise.
      allow_missing: fresh values for weights that the checkpoint lacks.
      allow_unused: leave out weights that the network has no place for.

    Raises:
      CheckpointError: the checkpoint cannot be used; says which file or weight.
      DataError: the categories cannot be read.
    """
    known = _categories(location, categories)
    loaded = load_published_checkpoint(
        location, image_size=image_size, allow_missing=allow_missing, allow_unused=allow_unused
    )
    network = loaded.network
    network.vocabulary.check_categories([category["id"] for category in known], source=location)
    info = ModelInfo(
        model=network.model_config,
        vocabulary=network.vocabulary,
        categories=known,
        max_objects=min(_PUBLISHED_OBJECTS, network.model_config.max_seq_len // TOKENS_PER_OBJECT),
        source=f"imported from {loaded.prefix}",
    )
    report = {"checkpoint": loaded.prefix, **dataclasses.asdict(loaded.report)}
    write_json(epath.Path(output) / REPORT_FILE, report, indent=1)
    recipe = {name: loaded.config[name] for name in SECTIONS if name in loaded.config}
    write_json(epath.Path(output) / RECIPE_FILE, recipe, indent=1)
    save_model_folder(output, network, info=info)
    return loaded


def _categories(location: str, place: str) -> tuple[dict[str, Any], ...]:
    if not place:
        on_coco = [p for (_, data, _), p in PUBLISHED_CHECKPOINTS.items() if data == "coco"]
        return COCO_CATEGORIES if os.fspath(location).rstrip("/") in on_coco else ()
    path = epath.Path(place)
    if (path / DATASET_INFO_FILE).exists():
        rows = read_dataset_info(place).categories
    else:
        try:
            rows = read_json(path, fix="give another", most_bytes=MOST_LABEL_BYTES)["categories"]
        except DataError:  # It says what to do.
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{place} has no categories ({type(error).__name__}: {error}): give an examples "
                "folder or an annotation file in COCO's format."
            ) from error
    try:
        return tuple({"id": int(row["id"]), "name": str(row["name"])} for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{place}: a category is no {{'id': number, 'name': text}}: {error!r}."
        ) from error
