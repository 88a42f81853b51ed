"""Demonstration data in the exact on-disk layouts of Objects365 v2 and COCO 2017.

    <output>/objects365/zhiyuan_objv2_train.json, zhiyuan_objv2_val.json
    <output>/objects365/images/v1/patch8/objects365_v1_00420917.jpg
    <output>/coco/annotations/instances_train2017.json, instances_val2017.json
    <output>/coco/train2017/000000000123.jpg, val2017/...
    <output>/demo_settings.json                    written last

The two sets show overlapping shape vocabularies under different names and ids, as the real ones
do, and both have gaps in their category ids.
"""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np

from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.synthetic.scene import DrawnObject, Scene, draw_scene

SETTINGS_FILE = "demo_settings.json"
_STARTED_FILE = "demo_settings.unfinished.json"
# Raised whenever the same settings would draw other pictures.
_VERSION = 1

# Shape to (category id, name). As in the real sets, names are spelt their own way.
OBJECTS365_CATEGORIES = {
    "disc": (3, "Ball"),
    "square": (7, "Storage box"),
    "triangle": (12, "Tent"),
    "star": (24, "Starfish"),
    "cross": (41, "Cross "),
}
COCO_CATEGORIES = {
    "star": (2, "star", "sign"),
    "triangle": (5, "tent", "outdoor"),
    "square": (9, "box", "indoor"),
    "disc": (17, "sports ball", "sports"),
}
_IMAGES_PER_PATCH = 400
_SET_CODES = {
    ("objects365", "train"): 1,
    ("objects365", "val"): 2,
    ("coco", "train"): 3,
    ("coco", "val"): 4,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What to draw.

    Attributes:
      seed: decides everything; each image's own follows from it, its set and its number.
      objects365_train, objects365_val, coco_train, coco_val: number of images.
      image_size: short and long side in pixels, about which the images' sizes vary.
    """

    seed: int = 0
    objects365_train: int = 3000
    objects365_val: int = 100
    coco_train: int = 3000
    coco_val: int = 150
    image_size: tuple[int, int] = (128, 160)

    def __post_init__(self) -> None:
        for field in ("objects365_train", "objects365_val", "coco_train", "coco_val"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} is {getattr(self, field)}; draw at least 1 image")
        short, long = self.image_size
        if not 32 <= short <= long <= 4096:
            raise ConfigError(f"image_size is {self.image_size}; give short,long of 32 to 4096")

    def to_json(self) -> str:
        return json.dumps({"version": _VERSION, **dataclasses.asdict(self)}, indent=1)

    @property
    def num_images(self) -> int:
        return sum(getattr(self, f"{dataset}_{split}") for dataset, split in _SET_CODES)


@dataclasses.dataclass(frozen=True)
class _Set:
    """One split of one of the two sets: `dataset` is objects365 or coco, `split` train or val."""

    dataset: str
    split: str
    settings: DemoSettings

    @property
    def num_images(self) -> int:
        return getattr(self.settings, f"{self.dataset}_{self.split}")

    def image_id(self, index: int) -> int:
        # Spread out, as in the real sets; the splits never share one.
        return 1000 + 37 * (2 * index + (self.split == "val"))

    def file_name(self, index: int) -> str:
        """As the JSON spells it."""
        if self.dataset == "coco":
            return f"{self.image_id(index):012d}.jpg"
        patch = index // _IMAGES_PER_PATCH + (40 if self.split == "val" else 0)
        version = "v2" if index % 2 else "v1"
        stem = f"objects365_{version}_{self.image_id(index):08d}.jpg"
        return f"images/{version}/patch{patch}/{stem}"

    def image_path(self, index: int) -> str:
        """Inside the data set's folder."""
        if self.dataset == "coco":
            return f"{self.split}2017/{self.file_name(index)}"
        return self.file_name(index)

    def scene(self, index: int) -> Scene:
        code = _SET_CODES[self.dataset, self.split]
        rng = np.random.default_rng([self.settings.seed, code, index])
        categories = OBJECTS365_CATEGORIES if self.dataset == "objects365" else COCO_CATEGORIES
        height, width = self.settings.image_size
        return draw_scene(rng, shapes=tuple(categories), nominal_size=(height, width))


def _run_lengths(box_xyxy: tuple[float, ...], *, height: int, width: int) -> list[int]:
    """COCO's uncompressed run lengths of a filled box: column by column, zeros first."""
    mask = np.zeros((height, width), bool)
    x0, y0, x1, y1 = (round(v) for v in box_xyxy)
    mask[y0:y1, x0:x1] = True
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    return np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()


def _coco_annotation(drawn: DrawnObject, scene: Scene) -> dict[str, Any]:
    x0, y0, x1, y1 = drawn.box_xyxy
    if drawn.is_crowd:
        counts = _run_lengths(drawn.box_xyxy, height=scene.height, width=scene.width)
        segmentation: Any = {"counts": counts, "size": [scene.height, scene.width]}
    else:
        segmentation = [[round(v, 2) for v in drawn.polygon_xy.ravel().tolist()]]
    return {
        "segmentation": segmentation,
        "area": round(drawn.area, 4),
        "iscrowd": int(drawn.is_crowd),
        "bbox": [round(v, 2) for v in (x0, y0, x1 - x0, y1 - y0)],
        "category_id": COCO_CATEGORIES[drawn.shape][0],
    }


def _objects365_annotation(drawn: DrawnObject, rng: np.random.Generator) -> dict[str, Any]:
    x0, y0, x1, y1 = drawn.box_xyxy
    return {
        "iscrowd": int(drawn.is_crowd),
        "isfake": int(rng.uniform() < 0.01),
        "area": (x1 - x0) * (y1 - y0),
        "isreflected": int(rng.uniform() < 0.005),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "category_id": OBJECTS365_CATEGORIES[drawn.shape][0],
    }


def _rows(demo_set: _Set, index: int, scene: Scene) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The JSON's image row and annotation rows, as in the real sets except for their ids."""
    image_id = demo_set.image_id(index)
    size = {"height": scene.height, "width": scene.width}
    name = demo_set.file_name(index)
    if demo_set.dataset == "coco":
        url = f"http://images.cocodataset.org/{demo_set.split}2017/{name}"
        image = {"license": 4, "file_name": name, "coco_url": url, **size}
        image |= {"date_captured": "2013-11-14 17:02:52", "flickr_url": "", "id": image_id}
        annotations = [_coco_annotation(o, scene) for o in scene.objects]
    else:
        image = {"id": image_id, "license": 5, "file_name": name, "url": "", **size}
        rng = np.random.default_rng([demo_set.settings.seed, 9, image_id])
        annotations = [_objects365_annotation(o, rng) for o in scene.objects]
    return image, [{**a, "image_id": image_id} for a in annotations]


def _annotation_file(demo_set: _Set) -> tuple[str, dict[str, Any]]:
    """Where the set's JSON goes inside its folder, and its content without images and boxes."""
    if demo_set.dataset == "coco":
        description = "Drawn demonstration data in COCO 2017 layout"
        header = {
            "info": {"description": description, "version": "1.0", "year": 2017},
            "licenses": [{"url": "", "id": 4, "name": "Drawn by this project"}],
        }
        categories = [
            {"supercategory": group, "id": category, "name": name}
            for category, name, group in COCO_CATEGORIES.values()
        ]
        path = f"annotations/instances_{demo_set.split}2017.json"
    else:
        header = {}
        categories = [
            {"name": name, "id": category} for category, name in OBJECTS365_CATEGORIES.values()
        ]
        path = f"zhiyuan_objv2_{demo_set.split}.json"
    return path, {**header, "categories": categories}


def _draw_and_save(task: tuple[_Set, str, int]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    demo_set, folder, index = task
    scene = demo_set.scene(index)
    Path(folder, demo_set.image_path(index)).write_bytes(scene.jpeg)
    return _rows(demo_set, index, scene)


def _write_set(
    demo_set: _Set,
    folder: Path,
    *,
    run: Callable[[Callable, Iterable], Iterator],
    on_image: Callable[[], None],
) -> None:
    indices = range(demo_set.num_images)
    for directory in {os.path.dirname(demo_set.image_path(i)) for i in indices}:
        (folder / directory).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for image, boxes in run(_draw_and_save, [(demo_set, str(folder), i) for i in indices]):
        images.append(image)
        annotations += boxes
        on_image()
    path, content = _annotation_file(demo_set)
    # Neither real set has its annotations in the order of its images.
    order = np.random.default_rng(demo_set.settings.seed).permutation(len(annotations))
    content["images"] = images
    content["annotations"] = [{**annotations[i], "id": n + 51} for n, i in enumerate(order)]
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(json.dumps(content))


def is_complete(output: str | os.PathLike[str], settings: DemoSettings) -> bool:
    """Whether `output` already holds the data that `settings` describe."""
    path = Path(output) / SETTINGS_FILE
    return path.is_file() and path.read_text() == settings.to_json()


def generate(
    output: str | os.PathLike[str],
    settings: DemoSettings,
    *,
    num_processes: int = 1,
    on_image: Callable[[], None] = lambda: None,
) -> None:
    """Draws both data sets into `output`; calls `on_image` after each image.

    Earlier demonstration data there is replaced.

    Raises:
      DataError: `output` has folders `objects365` or `coco` that this function did not make, or
        cannot be written.
    """
    root = Path(output)
    ours = any((root / name).exists() for name in (SETTINGS_FILE, _STARTED_FILE))
    fix = "give another --output"
    for name in ("objects365", "coco"):
        if (root / name).exists() and not ours:
            raise DataError(f"{root / name} is there and is not demonstration data; {fix}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / _STARTED_FILE).write_text(settings.to_json())
    except OSError as error:
        raise DataError(f"{root} cannot be written ({error.strerror}); {fix}") from None
    (root / SETTINGS_FILE).unlink(missing_ok=True)
    for name in ("objects365", "coco"):
        shutil.rmtree(root / name, ignore_errors=True)

    sets = [_Set(dataset, split, settings) for dataset, split in _SET_CODES]
    with contextlib.ExitStack() as stack:
        run: Callable[..., Iterator] = map
        if num_processes > 1:
            pool = stack.enter_context(futures.ProcessPoolExecutor(num_processes))
            run = functools.partial(pool.map, chunksize=16)
        for demo_set in sets:
            _write_set(demo_set, root / demo_set.dataset, run=run, on_image=on_image)
    (root / _STARTED_FILE).replace(root / SETTINGS_FILE)
