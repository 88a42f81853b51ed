"""Flags that say which data set is meant, and how strict its conversion is."""

import os
from typing import Any

from absl import flags
from apache_beam.io.filesystems import FileSystems

from components.conversion.options import AUTOMATIC, ConversionOptions, SplitSource
from components.labels.layout import recognise_splits
from components.storage.files import folder_exists
from pipelines.cli.command_line import flag_values
from pipelines.cli.place_flags import define_places
from pix2seq_model.data.defects import EXPLANATIONS, DefectLimits
from pix2seq_model.data.settings import (
    AUTO,
    DATA_FORMATS,
    LABEL_FORMATS,
    MAX_DEFECT_FRACTION,
    MAX_PIXELS,
)
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.tokens.vocabulary import Vocabulary

_SPLITS = ("train", "val")
# Where the published data sets keep their annotations, looked for in this order.
_ANNOTATION_FILES = {
    "objects365": ("zhiyuan_objv2_{split}.json", "objects365_{split}.json"),
    "coco": ("instances_{split}2017.json", "annotations/instances_{split}2017.json"),
}
_IMAGE_FOLDERS = {"objects365": ("{split}", ""), "coco": ("{split}2017", "{split}2017.zip", "")}

FLAGS = flags.FLAGS

flags.DEFINE_enum("dataset", AUTO, DATA_FORMATS, "Format of the labels; auto: recognised.")
_SINGLE = "for single splits train=PLACE,val=PLACE."
_IMAGES = f"Folder (or zip archive) of images; {_SINGLE}"
_ANNOTATIONS = f"Folder of the labels, or a JSON file; empty: that of the images; {_SINGLE}"
define_places("images", [], _IMAGES)
define_places("annotations", [], _ANNOTATIONS)
flags.DEFINE_string(
    "name", "", "Of the data set, for people; empty: that of --dataset, with auto the folder's."
)
flags.DEFINE_integer("seed", 0, "Orders the images, and the objects in them.")
flags.DEFINE_list("num_shards", [], "For single splits train=64,val=8; or one number.")
flags.DEFINE_float("shard_megabytes", 128, "Size of a shard, if not counted.")
flags.DEFINE_bool("check_pixels", False, "Decode every image completely; slower.")
flags.DEFINE_integer("max_pixels", MAX_PIXELS, "Larger images are dropped.")
flags.DEFINE_bool("drop_fake", False, "Objects365: drop boxes with isfake.")
flags.DEFINE_bool("drop_reflected", False, "Objects365: drop boxes with isreflected.")
_BEYOND = "Of the config's vocabulary; where an id is higher, categories are numbered from 1."
flags.DEFINE_integer("max_category_id", Vocabulary().max_category_id, _BEYOND, lower_bound=1)
for _limit in ("max_dropped_images", "max_dropped_annotations"):
    flags.DEFINE_float(_limit, MAX_DEFECT_FRACTION, "Fraction of a split; more is a failure.")
flags.DEFINE_list("max_by_rule", [], "Of single rules: image_missing=0.001,box_clipped=0.2.")


def _by_split(flag: str) -> dict[str, str]:
    """Parses `train=a,val=b`, or one value for all; the key of that one is empty."""
    given = f"--{flag}={','.join(FLAGS[flag].value)}"
    parsed: dict[str, str] = {}
    for value in FLAGS[flag].value:
        split, equals, rest = value.partition("=")
        if not equals:
            split, rest = "", value
        if not rest or split in parsed:
            raise ConfigError(
                f"{given}: write train=...,val=... or one value; a path with a comma in it goes "
                f"into double quotes of its own, --{flag}='\"a,b\"'"
            )
        parsed[split] = rest.rstrip("/")
    if len(parsed) > 1 and "" in parsed:
        raise ConfigError(
            f"{given}: name the split of each value; a path with a comma in it goes into double "
            f"quotes of its own, --{flag}='\"a,b\"'"
        )
    return parsed


def _numbers(flag: str, kind: type) -> dict[str, Any]:
    try:
        return {name: kind(value) for name, value in _by_split(flag).items()}
    except ValueError:
        raise ConfigError(f"--{flag}={','.join(FLAGS[flag].value)}: not numbers") from None


def _find(folder: str, candidates: tuple[str, ...], split: str) -> str | None:
    paths = (f"{folder}/{name.format(split=split)}".rstrip("/") for name in candidates)
    return next((path for path in paths if FileSystems.exists(path) or folder_exists(path)), None)


def _sources(dataset: str) -> dict[str, SplitSource]:
    annotations, images = _by_split("annotations"), _by_split("images")
    if dataset in (AUTO, *LABEL_FORMATS):
        found = recognise_splits(images, annotations, wanted=dataset if dataset != AUTO else "")
        print("\n".join(found.lines))
        return dict(found.splits)
    if not annotations:
        raise ConfigError(f"--annotations is missing; --dataset={dataset} needs it")
    if only := annotations.get(""):
        if ".json" in os.path.basename(only):
            annotations = {"val" if "val" in os.path.basename(only) else "train": only}
        elif dataset == "coco_format":
            raise ConfigError(
                f"--annotations={only} is not a JSON file; with --dataset=coco_format name the "
                "files: --annotations=train=FILE,val=FILE"
            )
        elif not folder_exists(only):
            raise DataError(f"folder of annotations does not exist: {only}")
        else:
            names = _ANNOTATION_FILES[dataset]
            annotations = {split: path for split in _SPLITS if (path := _find(only, names, split))}
            if not annotations:
                raise DataError(
                    f"{only} has no annotation file of {dataset}: looked for "
                    + ", ".join(name.format(split=split) for name in names for split in _SPLITS)
                    + "; name the file with --annotations=train=FILE"
                )
    if only := images.get(""):
        layouts = _IMAGE_FOLDERS.get(dataset, ("",))
        images = {split: _find(only, layouts, split) or only for split in annotations}
    if missing := sorted(set(annotations) - set(images)):
        raise ConfigError(f"--images says nothing of split {missing[0]!r}; --annotations does")
    return {
        split: SplitSource(images=images[split], annotations=path)
        for split, path in annotations.items()
    }


def _name_of_the_data() -> str:
    """Its format where one is named; of data that was recognised, the folder's name."""
    if FLAGS.dataset != AUTO:
        return FLAGS.dataset
    folder = os.path.commonpath([os.path.abspath(path) for path in _by_split("images").values()])
    return os.path.basename(folder) or AUTO


def conversion_options() -> ConversionOptions:
    """Returns what the flags say.

    Raises:
      ConfigError: a value is missing or cannot be used.
      DataError: a folder is missing, or has no annotation file of the data set.
    """
    if not FLAGS.images:
        raise ConfigError("--images is missing: give the folder of the images")
    splits = _sources(FLAGS.dataset)
    num_shards = _numbers("num_shards", int)
    by_rule = _numbers("max_by_rule", float)
    if unknown := by_rule.keys() - EXPLANATIONS:
        raise ConfigError(
            f"--max_by_rule: no rule {min(unknown)!r}; rules are {sorted(EXPLANATIONS)}"
        )
    return ConversionOptions(
        name=FLAGS.name or _name_of_the_data(),
        splits=splits,
        num_shards=dict.fromkeys(splits, num_shards.pop("", AUTOMATIC)) | num_shards,
        shard_bytes=round(FLAGS.shard_megabytes * 1_000_000),
        limits=DefectLimits(
            max_by_rule=by_rule, **flag_values("max_dropped_images", "max_dropped_annotations")
        ),
        **flag_values("seed", "check_pixels", "max_pixels", "drop_fake", "drop_reflected"),
        max_category_id=FLAGS.max_category_id,
    )
