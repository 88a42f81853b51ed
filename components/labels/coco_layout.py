"""COCO's JSON files in a folder: which split each is, and where its images are."""

import itertools
import posixpath

from components.labels.label_folder import LabelFolder
from components.storage.files import open_unpacked, refusing
from pix2seq_model.data.annotations import parse_image_row
from pix2seq_model.data.json_arrays import read_array, top_level_keys
from pix2seq_model.errors import DataError

COCO_FILES = (".json", ".json.gz", ".json.bz2")
_LISTS = {"images", "annotations", "categories"}
_SNIFFED_BYTES = 1 << 16
_FILES_LOOKED_INTO = 60
_NAMES_TRIED = 50
# What else COCO has for the same images.
_NOT_BOXES = ("captions", "keypoints", "panoptic", "stuff", "image_info")


def coco_files(folder: LabelFolder) -> list[str]:
    """Returns the annotation files in COCO's format; those of boxes alone, if there are any."""
    candidates = folder.with_suffix(*COCO_FILES)[:_FILES_LOOKED_INTO]
    found = [path for path in candidates if _is_coco(folder, path)]
    boxes = [p for p in found if not any(word in p.lower() for word in _NOT_BOXES)]
    return boxes or found


def _is_coco(folder: LabelFolder, path: str) -> bool:
    start = folder.read(path, _SNIFFED_BYTES)
    if not path.endswith(".json"):
        return True  # Nobody packs other things that way.
    if not start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return False
    if b'"shapes"' in start and b'"imagePath"' in start:
        return False
    for words in (("images", "file_name"), ("annotations", "image_id", "bbox")):
        if all(f'"{word}"'.encode() in start for word in words):
            return True
    whole = f"{folder.root}/{path}"
    with open_unpacked(whole) as file:
        try:
            return len(_LISTS & set(top_level_keys(file, path=whole))) >= 2
        except DataError:
            # Damaged; the conversion says where, if it was meant to be one.
            return len([n for n in _LISTS if f'"{n}"'.encode() in start]) >= 2


def files_by_split(folder: LabelFolder, files: list[str]) -> dict[str, str]:
    """Returns the annotation file of each split; "" is a single one that says none.

    Raises:
      DataError: several files may be one split.
    """
    found: dict[str, list[str]] = {}
    for path in files:
        found.setdefault(folder.split_of(path), []).append(path)
    if len(files) == 1:
        return {folder.split_of(files[0]): files[0]}
    for split, paths in found.items():
        preferred = [p for p in paths if "instances" in posixpath.basename(p).lower()]
        if len(preferred) == 1:
            found[split] = preferred
    unclear = next((paths for split, paths in found.items() if len(paths) > 1 or not split), None)
    if unclear:
        raise DataError(
            f"{folder.root} has {len(files)} annotation files, and their names do not say which "
            f"split {' and '.join(unclear[:3])} are: give them one by one (--annotations="
            "train=FILE,val=FILE; in a config data.<stage>.annotations.train), or join the parts "
            "of one set: python pipelines/split_dataset.py --annotations=FILE,FILE "
            "--images=FOLDER,FOLDER"
        )
    return {split: paths[0] for split, paths in found.items()}


def folder_of_images(labels: LabelFolder, path: str, images: LabelFolder, split: str) -> str:
    """Returns the folder, below `images.root`, from which the file names of a JSON file lead.

    Args:
      labels, path: the annotation file.
      images: the place of all images.
      split: of the annotation file.
    """
    names = _first_names(f"{labels.root}/{path}")
    there = set(images.files)
    own = posixpath.dirname(path) if labels.root == images.root else ""
    folders = sorted({*images.folders, ""}, key=lambda f: (f != own, f.count("/"), f))

    def leads(folder: str) -> bool:
        paths = (posixpath.normpath(posixpath.join(folder, name)) for name in names)
        return bool(names) and all(path in there for path in paths)

    # Another split's pixels have the same names as often as not. In an archive there is only one.
    fitting = [f for f in folders if leads(f) and images.split_of(f) in ("", split)]
    if images.root.lower().endswith(".zip"):
        fitting = []
    if own in fitting:
        fitting = [own]
    if len(fitting) > 1:
        fitting = [folder for folder in fitting if images.split_of(folder) == split] or fitting
    return f"{images.root}/{fitting[0]}".rstrip("/") if len(fitting) == 1 else images.root


def _first_names(path: str) -> list[str]:
    with refusing(f"{path} cannot be read"), open_unpacked(path) as file:
        rows = itertools.islice(read_array(file, "images", path=path), _NAMES_TRIED)
        parsed = [parse_image_row(raw, 0) for raw in rows]
    return [row.file_name for row in parsed if not row.problem]
