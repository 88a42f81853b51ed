"""Flags that say which data set is meant, and how strict its conversion is."""

import os

from absl import flags
from apache_beam.io.filesystems import FileSystems

from components.conversion.options import (
    AUTOMATIC,
    ConversionOptions,
    SplitSource,
)
from components.storage.files import folder_exists
from pix2seq_model.data.defects import EXPLANATIONS, DefectLimits
from pix2seq_model.data.settings import DATA_FORMATS, MAX_DEFECT_FRACTION
from pix2seq_model.errors import ConfigError, DataError

_SPLITS = ("train", "val")
# Where the published data sets keep their annotations, looked for in this order.
_ANNOTATION_FILES = {
    "objects365": ("zhiyuan_objv2_{split}.json", "objects365_{split}.json"),
    "coco": ("instances_{split}2017.json", "annotations/instances_{split}2017.json"),
}
_IMAGE_FOLDERS = {
    "objects365": ("{split}", ""),
    "coco": ("{split}2017", "{split}2017.zip", ""),
}

_DATASET = flags.DEFINE_enum(
    "dataset", None, DATA_FORMATS, "Which layout of files to expect.", required=True
)
_IMAGES = flags.DEFINE_list(
    "images",
    None,
    "Folder (or zip archive) of images; for single splits train=FOLDER,val=FOLDER.",
    required=True,
)
_ANNOTATIONS = flags.DEFINE_list(
    "annotations",
    None,
    "Folder of the published annotation files, or a JSON file; for single splits "
    "train=FILE,val=FILE.",
    required=True,
)
_NAME = flags.DEFINE_string("name", "", "Of the data set, for people; empty: that of --dataset.")
_SEED = flags.DEFINE_integer("seed", 0, "Orders the images, and the objects in them.")
_NUM_SHARDS = flags.DEFINE_list(
    "num_shards", [], "For single splits train=64,val=8; or one number."
)
_SHARD_MEGABYTES = flags.DEFINE_float("shard_megabytes", 128, "Size of a shard, if not counted.")
_CHECK_PIXELS = flags.DEFINE_bool("check_pixels", False, "Decode every image completely; slower.")
_MAX_PIXELS = flags.DEFINE_integer("max_pixels", 100_000_000, "Larger images are dropped.")
_DROP_FAKE = flags.DEFINE_bool("drop_fake", False, "Objects365: drop boxes with isfake.")
_DROP_REFLECTED = flags.DEFINE_bool(
    "drop_reflected", False, "Objects365: drop boxes with isreflected."
)
_MAX_DROPPED_IMAGES = flags.DEFINE_float(
    "max_dropped_images", MAX_DEFECT_FRACTION, "Fraction of a split; more is a failure."
)
_MAX_DROPPED_ANNOTATIONS = flags.DEFINE_float(
    "max_dropped_annotations", MAX_DEFECT_FRACTION, "Fraction of a split; more is a failure."
)
_MAX_BY_RULE = flags.DEFINE_list(
    "max_by_rule", [], "Limits of single rules, such as image_missing=0.001,box_clipped=0.2."
)


def _by_split(flag: str, values: list[str]) -> dict[str, str]:
    """Parses `train=a,val=b`, or one value for all; the key of that one is empty."""
    parsed: dict[str, str] = {}
    for value in values:
        split, equals, rest = value.partition("=")
        if not equals:
            split, rest = "", value
        if not rest or split in parsed:
            raise ConfigError(f"--{flag}={','.join(values)}: write train=...,val=... or one value")
        parsed[split] = rest.rstrip("/")
    if len(parsed) > 1 and "" in parsed:
        raise ConfigError(f"--{flag}={','.join(values)}: name the split of each value")
    return parsed


def _find(folder: str, candidates: tuple[str, ...], split: str) -> str | None:
    for candidate in candidates:
        path = f"{folder}/{candidate.format(split=split)}".rstrip("/")
        if FileSystems.exists(path) or folder_exists(path):
            return path
    return None


def _find_annotations(folder: str, dataset: str) -> dict[str, str]:
    candidates = _ANNOTATION_FILES[dataset]
    found = {split: _find(folder, candidates, split) for split in _SPLITS}
    if not any(found.values()):
        raise DataError(
            f"{folder} has no annotation file of {dataset}: looked for "
            + ", ".join(name.format(split=split) for name in candidates for split in _SPLITS)
            + "; name the file with --annotations=train=FILE"
        )
    return {split: path for split, path in found.items() if path}


def _sources(dataset: str) -> dict[str, SplitSource]:
    annotations = _by_split("annotations", _ANNOTATIONS.value)
    images = _by_split("images", _IMAGES.value)
    if only := annotations.get(""):
        if ".json" in os.path.basename(only):
            split = "val" if "val" in os.path.basename(only) else "train"
            annotations = {split: only}
        elif dataset == "coco_format":
            raise ConfigError(
                f"--annotations={only} is not a JSON file; with --dataset=coco_format name the "
                "files: --annotations=train=FILE,val=FILE"
            )
        elif not folder_exists(only):
            raise DataError(f"folder of annotations does not exist: {only}")
        else:
            annotations = _find_annotations(only, dataset)
    if only := images.get(""):
        layouts = _IMAGE_FOLDERS.get(dataset, ("",))
        images = {split: _find(only, layouts, split) or only for split in annotations}
    missing = sorted(set(annotations) - set(images))
    if missing:
        raise ConfigError(f"--images says nothing of split {missing[0]!r}; --annotations does")
    return {
        split: SplitSource(images=images[split], annotations=path)
        for split, path in annotations.items()
    }


def _shard_counts(splits: list[str]) -> dict[str, int]:
    counts = _by_split("num_shards", _NUM_SHARDS.value)
    try:
        numbers = {split: int(count) for split, count in counts.items()}
    except ValueError:
        raise ConfigError(f"--num_shards={','.join(_NUM_SHARDS.value)}: not numbers") from None
    return {split: numbers.get("", AUTOMATIC) for split in splits} | {
        split: count for split, count in numbers.items() if split
    }


def _rule_limits() -> dict[str, float]:
    limits = {}
    for rule, value in _by_split("max_by_rule", _MAX_BY_RULE.value).items():
        if rule not in EXPLANATIONS:
            raise ConfigError(f"--max_by_rule: no rule {rule!r}; rules are {sorted(EXPLANATIONS)}")
        try:
            limits[rule] = float(value)
        except ValueError:
            raise ConfigError(f"--max_by_rule: {rule}={value} is not a fraction") from None
    return limits


def conversion_options() -> ConversionOptions:
    """Returns what the flags say.

    Raises:
      ConfigError: a value cannot be used.
      DataError: a folder is missing, or has no annotation file of the data set.
    """
    splits = _sources(_DATASET.value)
    return ConversionOptions(
        name=_NAME.value or _DATASET.value,
        splits=splits,
        seed=_SEED.value,
        num_shards=_shard_counts(list(splits)),
        shard_bytes=round(_SHARD_MEGABYTES.value * 1_000_000),
        check_pixels=_CHECK_PIXELS.value,
        max_pixels=_MAX_PIXELS.value,
        drop_fake=_DROP_FAKE.value,
        drop_reflected=_DROP_REFLECTED.value,
        limits=DefectLimits(
            max_dropped_images=_MAX_DROPPED_IMAGES.value,
            max_dropped_annotations=_MAX_DROPPED_ANNOTATIONS.value,
            max_by_rule=_rule_limits(),
        ),
    )
