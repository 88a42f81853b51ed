"""What a folder of a user's own data is: recognised by what is in it, never guessed."""

import collections
import dataclasses
import posixpath
from collections.abc import Callable, Iterator, Mapping

from components.conversion.options import SplitSource
from components.labels.coco_file import write_coco_file
from components.labels.coco_layout import COCO_FILES, coco_files, files_by_split, folder_of_images
from components.labels.label_folder import LabelFolder
from components.labels.label_sets import SPLITS, LabelMeLabels, LabelSet
from components.labels.table_labels import LabelStudioLabels, OpenImagesLabels
from components.labels.voc_labels import VocLabels
from components.labels.yolo_labels import YoloLabels
from components.labels.yolo_layout import has_labels
from components.storage.files import file_exists, file_metadata, open_unpacked
from components.storage.image_names import split_role
from components.storage.image_store import open_store
from pix2seq_model.data.annotations import parse_image_row
from pix2seq_model.data.json_arrays import read_array
from pix2seq_model.data.settings import COCO_FORMAT
from pix2seq_model.data.wrong_content import describe_content
from pix2seq_model.errors import ConfigError, DataError

_KINDS: tuple[type[LabelSet], ...] = (
    YoloLabels, VocLabels, LabelMeLabels, OpenImagesLabels, LabelStudioLabels
)  # fmt: skip
KINDS: Mapping[str, type[LabelSet]] = {kind.format: kind for kind in _KINDS}
ALL_IS_TRAIN = "all of it is train: pipelines/split_dataset.py takes some for validation"
_TITLES = {COCO_FORMAT: "COCO JSON", **{name: kind.title for name, kind in KINDS.items()}}


@dataclasses.dataclass(frozen=True)
class Layout:
    """What was recognised.

    Attributes:
      format: "coco_format" or a key of `KINDS`.
      splits: split to its source.
      lines: for people: what was found, and what was not taken.
      names_splits: whether folders, files or lists say the splits; otherwise all is "train".
    """

    format: str
    splits: Mapping[str, SplitSource]
    lines: tuple[str, ...]
    names_splits: bool = True


def open_labels(source: SplitSource) -> LabelSet:
    """Returns the reader of a split in a format of `KINDS`."""
    images, labels = _folders(source.images, source.annotations)
    return KINDS[source.format](labels, images)


def recognise(images: str, annotations: str = "", *, wanted: str = "") -> Layout:
    """Finds out what is in a folder.

    Args:
      images: folder, or zip archive, of images.
      annotations: folder of the labels, or one file of them; empty: the folder of images.
      wanted: the format to take; empty: whichever is there.

    Raises:
      DataError: there are no labels, or labels in several formats that do not agree.
    """
    annotations = annotations or images
    image_folder, labels = _folders(images, annotations)
    found = [name for name in _TITLES if wanted in ("", name) and _is_in(name, labels)]
    if not found:
        raise DataError(_nothing(labels, wanted))
    named = {name: _splits(name, labels, image_folder, annotations) for name in found}
    # Without a split everything is for training: that is what most people begin with.
    by_format = {
        name: {split or "train": source for split, source in splits.items()}
        for name, splits in named.items()
    }
    chosen, lines = found[0], []
    if len(found) > 1:
        _check_agreement(by_format, labels.root)
        others = " and ".join(_TITLES[name] for name in found[1:])
        lines.append(
            f"the same images have labels as {others} too, which are not read: "
            f"--dataset={found[1]} (in a config data.<stage>.format) takes those"
        )
    splits = by_format[chosen]
    splits = {split: splits[split] for split in SPLITS if split in splits}
    names_splits = "" not in named[chosen]
    of_splits = f", {', '.join(splits)}" if names_splits else ""
    lines.insert(0, f"{labels.root}: {_TITLES[chosen]}{of_splits}")
    if chosen != COCO_FORMAT:
        lines += KINDS[chosen](labels, image_folder).notes
    elif not image_folder.images and (zips := image_folder.with_suffix(".zip")):
        raise DataError(
            f"{images} has no images but {zips[0]}: unpack it, or give both, "
            f"--images={image_folder.root}/{zips[0]} --annotations={labels.root}"
        )
    if list(splits) == ["train"]:
        lines.append(ALL_IS_TRAIN)
    return Layout(chosen, splits, tuple(lines), names_splits)


def split_to_evaluate(layout: Layout, images: str, *, wanted: str = "") -> tuple[str, SplitSource]:
    """Chooses the split that a model is evaluated on.

    Args:
      layout: of the labels.
      images: the folder that `layout` was recognised in.
      wanted: the split's name; empty: the only one, or "val". Where the labels name no splits,
        everything is the wanted split, or the one that the folder is called after, or "test".

    Raises:
      ConfigError: there is no such split, or one has to be chosen.
    """
    splits = layout.splits
    if not layout.names_splits:
        (source,) = splits.values()
        called = split_role(posixpath.basename(images.rstrip("/")))
        return wanted or called or "test", source
    if not wanted and (len(splits) == 1 or "val" in splits):
        wanted = "val" if "val" in splits else next(iter(splits))
    if wanted not in splits:
        raise ConfigError(f"--split={wanted}: choose one of {', '.join(splits)}")
    return wanted, splits[wanted]


def recognise_splits(
    images: Mapping[str, str], annotations: Mapping[str, str], *, wanted: str = ""
) -> Layout:
    """Finds out what is in one folder, or in a folder for each split.

    Args:
      images: split to its folder of images; "" is that of all splits.
      annotations: split to its labels; where a split has none, they are among its images.
      wanted: as of `recognise`.

    Raises:
      ConfigError: images of a split without a place.
      DataError: as `recognise`; or a place does not have its split, or places differ in format.
    """
    if "" in images and not annotations.keys() - {""}:
        return recognise(images[""], annotations.get("", ""), wanted=wanted)
    found: dict[str, Layout] = {}
    for split in {**images, **annotations}:
        if split:
            place = images.get(split) or images.get("", "")
            if not place:
                raise ConfigError(f"images of split {split!r} are missing; its labels are given")
            of_split = annotations.get(split) or annotations.get("", "")
            found[split] = recognise(place, of_split, wanted=wanted)
    formats = {layout.format for layout in found.values()}
    if len(formats) > 1:
        raise DataError(f"the places of the splits have labels of {' and '.join(sorted(formats))}")
    splits = {}
    for split, layout in found.items():
        if split not in layout.splits and len(layout.splits) > 1:
            raise DataError(f"{layout.lines[0]}: there is no {split}")
        splits[split] = layout.splits.get(split) or next(iter(layout.splits.values()))
    lines = tuple(
        f"{split}: {line}"
        for split, layout in found.items()
        for line in layout.lines
        if line != ALL_IS_TRAIN
    )
    return Layout(formats.pop(), splits, lines)


def _folders(images: str, annotations: str) -> tuple[LabelFolder, LabelFolder]:
    """The folders of images and of labels; of these only the one file that may be named."""
    image_folder = LabelFolder(images)
    if annotations.rstrip("/") == image_folder.root:
        return image_folder, image_folder
    place, _, name = annotations.rpartition("/")
    place = place or ("/" if annotations.startswith("/") else ".")
    if not annotations.lower().endswith((*COCO_FILES, ".csv")):
        is_file = not annotations.endswith("/") and file_metadata(annotations)
        if is_file and not name.lower().endswith((".yaml", ".yml", ".data", ".names")):
            raise DataError(f"{annotations} is one file of the labels: give the folder, {place}")
        folder = place if is_file else annotations
        same = folder.rstrip("/") == image_folder.root
        return image_folder, image_folder if same else LabelFolder(folder)
    if not file_exists(annotations):
        raise DataError(f"{annotations}: there is no such file")
    labels = LabelFolder(place)
    labels.files = [name]
    return image_folder, labels


def _is_in(name: str, labels: LabelFolder) -> bool:
    return bool(coco_files(labels)) if name == COCO_FORMAT else KINDS[name].is_in(labels)


def _splits(
    name: str, labels: LabelFolder, images: LabelFolder, annotations: str
) -> dict[str, SplitSource]:
    """Split to its source; "" is everything, where no splits are named."""
    if name == COCO_FORMAT:
        return {
            split: SplitSource(
                images=folder_of_images(labels, path, images, split or "train"),
                annotations=f"{labels.root}/{path}",
            )
            for split, path in files_by_split(labels, coco_files(labels)).items()
        }
    # A `data.yaml` that was named is no more than its folder.
    place = annotations if annotations.lower().endswith((*COCO_FILES, ".csv")) else labels.root
    source = SplitSource(images=images.root, annotations=place, format=name)
    return dict.fromkeys(KINDS[name](labels, images).splits or ("",), source)


def _check_agreement(by_format: Mapping[str, Mapping[str, SplitSource]], root: str) -> None:
    """Raises DataError unless one of the formats is COCO's and all label the same images."""
    names = {
        name: {
            posixpath.splitext(posixpath.basename(image.replace("\\", "/")))[0]
            for split, source in splits.items()
            for image in labelled_images(source, split)
        }
        for name, splits in by_format.items()
    }
    if COCO_FORMAT in names and len(set(map(frozenset, names.values()))) == 1:
        return
    counts = "; ".join(
        f"{_TITLES[name]} of {len(images):,} images" for name, images in names.items()
    )
    raise DataError(
        f"{root} has labels in several formats, {counts}: say which to read, as "
        f"--dataset={[*names][-1]} (in a config data.<stage>.format), or name a folder with one"
    )


def labelled_images(source: SplitSource, split: str) -> Iterator[str]:
    """Yields the file names of a split's images as its labels have them."""
    if source.format != COCO_FORMAT:
        yield from (image.file_name for image in open_labels(source).read(split))
        return
    with open_unpacked(source.annotations) as file:
        for raw in read_array(file, "images", path=source.annotations):
            yield parse_image_row(raw, 0).file_name


def coco_file(
    source: SplitSource, split: str, *, output: str, say: Callable[[str], object] = print
) -> str:
    """Returns an annotation file in COCO's format of a split, and says what is not in it.

    Args:
      source: of the split; its own file if it is in COCO's format already.
      split: its name.
      output: folder, local or `gs://`; a file is written as `labels/<split>.json`.
      say: is given lines on what is not in the file.
    """
    if source.format == COCO_FORMAT:
        return source.annotations
    labels, name = open_labels(source), f"labels/{split}.json"
    store = open_store(source.images)
    path = write_coco_file(labels, split, store=store, output=output, name=name)
    for reason, number in labels.left_out.items():
        say(f"{split}: {number:,} {reason}")
    return path


def _nothing(labels: LabelFolder, wanted: str) -> str:
    suffixes = collections.Counter(
        posixpath.splitext(path)[1].lower() or "no suffix" for path in labels.files
    )
    there = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common(6))
    known = _TITLES[wanted] if wanted else ", ".join(_TITLES.values())
    hints = "".join(f". {hint}" for hint in _hints(labels))
    return (
        f"{labels.root} has no labels that are known ({known}); it has {there or 'no files'}{hints}"
        ". Name the folder of the labels as well, or export them from your tool as COCO JSON"
    )


def _hints(labels: LabelFolder) -> Iterator[str]:
    """What may be wrong with files that might be labels."""
    if zips := labels.with_suffix(".zip", ".tar", ".gz", ".7z", ".rar"):
        yield f"{zips[0]} is packed: unpack it"
    if has_labels(labels):
        yield (
            "The text files look like YOLO's, but no data.yaml or classes.txt names the classes: "
            "give the folder that has it"
        )
    for path in labels.with_suffix(".json")[:1]:
        start = labels.read(path, 64)
        if not start.lstrip().startswith((b"{", b"[")):
            yield f"{path} {describe_content(start)}"
        else:
            yield f"{path} is JSON of another kind, or cut off"
