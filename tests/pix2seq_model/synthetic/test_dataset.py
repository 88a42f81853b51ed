"""Demonstration data: the layouts of the real sets, the variety, the same from the same seed."""

import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.synthetic.dataset import (
    COCO_CATEGORIES,
    OBJECTS365_CATEGORIES,
    DemoSettings,
    generate,
    is_complete,
)
from pix2seq_model.synthetic.scene import draw_scene
from pix2seq_model.synthetic.shapes import SHAPES, outline_xy

SETTINGS = DemoSettings(objects365_train=12, objects365_val=3, coco_train=8, coco_val=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    generate(folder, SETTINGS)
    return folder


def test_objects365_layout(data):
    content = json.loads((data / "objects365/zhiyuan_objv2_train.json").read_text())
    assert set(content) == {"images", "annotations", "categories"}
    assert set(content["images"][0]) == {"height", "id", "license", "width", "file_name", "url"}
    assert set(content["annotations"][0]) == {
        *("id", "iscrowd", "isfake", "area", "isreflected", "bbox", "image_id", "category_id"),
    }
    assert [c["id"] for c in content["categories"]] == [3, 7, 12, 24, 41]
    for image in content["images"]:
        folder, name = image["file_name"].rsplit("/", 1)
        assert folder.startswith(("images/v1/patch", "images/v2/patch"))
        assert name == f"objects365_{folder.split('/')[1]}_{image['id']:08d}.jpg"
        with Image.open(data / "objects365" / image["file_name"]) as opened:
            assert (opened.format, opened.size) == ("JPEG", (image["width"], image["height"]))
    assert len(content["images"]) == 12


def test_coco_layout(data):
    content = json.loads((data / "coco/annotations/instances_train2017.json").read_text())
    assert set(content) == {"info", "licenses", "images", "annotations", "categories"}
    assert set(content["annotations"][0]) == {
        *("segmentation", "area", "iscrowd", "image_id", "bbox", "category_id", "id"),
    }
    ids = {image["id"] for image in content["images"]}
    for image in content["images"]:
        assert image["file_name"] == f"{image['id']:012d}.jpg"
        assert (data / "coco/train2017" / image["file_name"]).is_file()
    for box in content["annotations"]:
        assert box["image_id"] in ids
        assert box["area"] <= box["bbox"][2] * box["bbox"][3] + 1
    val = json.loads((data / "coco/annotations/instances_val2017.json").read_text())
    assert not ids & {image["id"] for image in val["images"]}


def test_pycocotools_accepts_it(data):
    from pycocotools.coco import COCO

    coco = COCO(data / "coco/annotations/instances_train2017.json")
    for annotation in coco.dataset["annotations"]:
        mask = coco.annToMask(annotation)
        assert mask.any()
        ys, xs = np.nonzero(mask)
        x, y, _, height = annotation["bbox"]
        assert abs(xs.min() - x) <= 2
        assert abs(ys.max() + 1 - (y + height)) <= 2


def test_the_sets_differ_in_names_and_ids():
    shared = set(OBJECTS365_CATEGORIES) & set(COCO_CATEGORIES)
    assert shared
    for shape in shared:
        assert OBJECTS365_CATEGORIES[shape][0] != COCO_CATEGORIES[shape][0]
        assert OBJECTS365_CATEGORIES[shape][1] != COCO_CATEGORIES[shape][1]


def test_same_settings_same_files_and_only_then(data, tmp_path):
    assert is_complete(data, SETTINGS)
    assert not is_complete(data, DemoSettings(seed=1))
    generate(tmp_path / "again", SETTINGS, num_processes=2)
    files = sorted(p.relative_to(data) for p in data.rglob("*") if p.is_file())
    assert len(files) == 12 + 3 + 8 + 4 + 4 + 1
    for file in files:
        assert (data / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/mine.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="not demonstration data"):
        generate(tmp_path, SETTINGS)
    assert (tmp_path / "coco/mine.jpg").exists()


def test_other_settings_replace_what_was_there(tmp_path):
    few = DemoSettings(objects365_train=1, objects365_val=1, coco_train=1, coco_val=1)
    generate(tmp_path, SETTINGS)
    generate(tmp_path, few)
    assert is_complete(tmp_path, few)
    assert len(list(tmp_path.rglob("*.jpg"))) == 4


def test_variety():
    scenes = [
        draw_scene(np.random.default_rng([5, i]), shapes=tuple(SHAPES), nominal_size=(96, 128))
        for i in range(250)
    ]
    modes = Counter(Image.open(io.BytesIO(scene.jpeg)).mode for scene in scenes)
    objects = [o for scene in scenes for o in scene.objects if not o.is_crowd]
    sides = [max(o.box_xyxy[2] - o.box_xyxy[0], o.box_xyxy[3] - o.box_xyxy[1]) for o in objects]
    assert modes["L"] >= 3
    assert modes["RGB"] >= 200
    assert sum(not scene.objects for scene in scenes) >= 5
    assert any(o.is_crowd for scene in scenes for o in scene.objects)
    assert {scene.height > scene.width for scene in scenes} == {True, False}
    assert min(sides) < 14
    assert max(sides) > 60
    assert {o.shape for o in objects} == set(SHAPES)
    for scene in scenes:
        for drawn in scene.objects:
            x0, y0, x1, y1 = drawn.box_xyxy
            assert 0 <= x0 < x1 <= scene.width
            assert 0 <= y0 < y1 <= scene.height


@pytest.mark.parametrize("name", SHAPES)
def test_outlines_fill_the_unit_square(name):
    points = outline_xy(SHAPES[name].outline, degrees=25, aspect=1.3)
    np.testing.assert_allclose(points.min(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(points.max(axis=0), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coco_val": 0}, "coco_val is 0"),
        ({"image_size": (200, 100)}, r"image_size is \(200, 100\)"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        DemoSettings(**change)
