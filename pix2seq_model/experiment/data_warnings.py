"""What of a config may not suit its data, said before anything runs: from a scan of these."""

from collections.abc import Iterator, Mapping, Sequence

from ml_collections import ConfigDict

from pix2seq_model.data.box_statistics import crowded_images
from pix2seq_model.data.categories import names_by_id
from pix2seq_model.data.dataset_scan import DatasetScan, SplitScan
from pix2seq_model.data.settings import LABEL_FORMATS
from pix2seq_model.errors import DataError

# More passes over the images than any recipe takes: usually steps that are meant for other data.
_MANY_EPOCHS = 2000
_NAMES_SHOWN = 5


def setting_warnings(config: ConfigDict, stage: str, scan: DatasetScan) -> Iterator[str]:
    """What a stage of a config leaves out of its data, or does with them too often.

    Args:
      config: the experiment.
      stage: of it.
      scan: of the splits that the stage trains on and is evaluated on.
    """
    train = config[stage].split
    limits = {train: (f"{stage}.sequence.max_objects", config[stage].sequence.max_objects)}
    if (other := config.evaluation.split) != train:
        limits[other] = ("evaluation.max_objects", config.evaluation.max_objects)
    for split, (key, limit) in limits.items():
        if split in scan.splits:
            counts = scan.splits[split].objects_per_image
            if text := crowded_images(counts, max_objects=limit):
                yield f"{split}: {key}={limit}: {text}"
    numbered = [row for row in scan.categories if "source_id" in row]
    # A labelling tool counts from 0, or knows its classes by name alone.
    if numbered and config.data[stage].format not in LABEL_FORMATS:
        example = numbered[0]
        yield (
            f"the class ids do not fit vocabulary.coord_shift={config.vocabulary.coord_shift}: the "
            f"{len(scan.categories):,} classes are numbered from 1, as {example['name']!r}, "
            f"{example['source_id']} in the file, which is {example['id']}; a model to start from "
            "must know them by these numbers"
        )
    yield from length_warnings(config, stage, scan.splits[train])


def length_warnings(config: ConfigDict, stage: str, train: SplitScan) -> Iterator[str]:
    """Of steps that see each image thousands of times, and images that are thinner than a pixel."""
    settings = config[stage]
    epochs = settings.steps * settings.batch_size / max(1, train.images)
    if epochs >= _MANY_EPOCHS:
        yield (
            f"{stage}.steps={settings.steps:,} at batch {settings.batch_size} are {epochs:,.0f} "
            f"passes over the {train.images:,} images of {settings.split}: give "
            f"--config.{stage}.epochs=NUMBER, or fewer steps"
        )
    side = max(settings.image_size)
    thin = sum(images for ratio, images in train.ratios.items() if ratio > side)
    if thin:
        yield (
            f"{settings.split}: {_counted(thin)} more than {side} times as long as wide, less than "
            f"a pixel wide in the network's image of {side} px: cut them, leave them out, or "
            f"raise {stage}.image_size"
        )


def class_warnings(scan: DatasetScan, split: str) -> Iterator[str]:
    """Of classes that cannot be learned on a split.

    Args:
      scan: of all splits.
      split: that is trained on.
    """
    train = scan.splits[split]
    others = {name: counts for name, counts in scan.splits.items() if name != split}
    names = names_by_id(scan.categories)
    absent = {number: name for number, name in names.items() if not train.classes[number]}
    for other, counts in others.items():
        if unlearned := [name for number, name in absent.items() if counts.classes[number]]:
            yield (
                f"{_listed(unlearned)}: boxes in {other}, but none in {split}: not to be learned; "
                "split again (pipelines/split_dataset.py gives each split its share of a class)"
            )
    seen = set().union(*(counts.classes for counts in others.values()))
    if nowhere := [name for number, name in absent.items() if number not in seen]:
        yield (
            f"{_listed(nowhere)}: no box in any split; label images of it, or leave the class out "
            "(pipelines/split_dataset.py --classes)"
        )


def check_boxes(scan: DatasetScan, splits: Mapping[str, str], files: Mapping[str, str]) -> None:
    """Raises DataError if a split has no box.

    Args:
      scan: of the splits.
      splits: by name what would be done with its boxes, such as "learn".
      files: annotation file by split, named with the setting, for the message.
    """
    for split, lost in splits.items():
        counts = scan.splits[split]
        if not counts.objects:
            aside = ", ".join(f"{rule} {n:,}" for rule, n in sorted(counts.set_aside.items()))
            raise DataError(
                f"{files[split]}: no box to {lost} in {counts.images:,} images; crowds: "
                f"{counts.crowds:,}; set aside: {aside or 'nothing'}. `python pipelines/"
                "check_dataset.py` says what is wrong."
            )


def _counted(images: int) -> str:
    return "1 image is" if images == 1 else f"{images:,} images are"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{'class' if len(names) == 1 else 'classes'} {', '.join(names[:_NAMES_SHOWN])}{more}"
