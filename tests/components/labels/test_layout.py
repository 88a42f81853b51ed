"""A folder is recognised by what is in it, and every format gives the same boxes."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from components.labels.layout import coco_file, recognise, recognise_splits
from pix2seq_model.errors import ConfigError, DataError
from tests.fixtures.label_exports import (
    IMAGES,
    NAMES,
    SPLITS,
    WRITERS,
    labelme_json,
    voc_xml,
    write_cvat_coco,
    write_image,
    write_roboflow_coco,
    write_text,
    write_voc,
    write_yolo,
)


def boxes_of(path):
    """Image to its boxes: name, x, y, width, height, rounded to a thousandth of a pixel."""
    content = json.loads(Path(path).read_text())
    names = {row["id"]: row["name"] for row in content["categories"]}
    found = {
        row["id"]: row["file_name"].rpartition("/")[2].partition(".")[0].removeprefix("0123abcd-")
        for row in content["images"]
    }
    boxes = {name: [] for name in found.values()}
    for row in content["annotations"]:
        box = [round(value, 3) for value in row["bbox"]]
        boxes[found[row["image_id"]]].append((names[row["category_id"]], *box))
    return boxes


def expected(stems):
    return {
        stem: [(NAMES[c], x1, y1, x2 - x1, y2 - y1) for c, x1, y1, x2, y2 in IMAGES[stem][2]]
        for stem in stems
    }


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_boxes(name, tmp_path):
    root = WRITERS[name](tmp_path / "data")
    layout = recognise(str(root))
    assert layout.format == name
    if name == "label_studio":
        assert list(layout.splits) == ["train"]
        found = boxes_of(coco_file(layout.splits["train"], "train", output=str(tmp_path)))
        assert found == expected(IMAGES)
        return
    assert [split for split in layout.splits if split != "test"] == ["train", "val"]
    for split, stems in SPLITS.items():
        found = boxes_of(coco_file(layout.splits[split], split, output=str(tmp_path)))
        if name == "open_images":
            stems = [stem for stem in stems if IMAGES[stem][2]]
        assert found == expected(stems)


@pytest.mark.parametrize("packed", [False, True])
def test_coco_beside_the_images_as_roboflow_writes_it(packed, tmp_path):
    root = write_roboflow_coco(tmp_path)
    if packed:
        for path in root.glob("*/_annotations.coco.json"):
            path.with_suffix(".json.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    layout = recognise(str(root))
    assert layout.format == "coco_format"
    assert layout.splits["val"].images == str(root / "valid")
    assert layout.splits["val"].annotations.startswith(str(root / "valid/_annotations.coco.json"))


def test_coco_without_a_split(tmp_path):
    layout = recognise(str(write_cvat_coco(tmp_path)))
    assert list(layout.splits) == ["train"]
    assert layout.splits["train"].images == str(tmp_path / "images/default")
    assert "split_dataset" in layout.lines[-1]


def test_labels_in_a_place_of_their_own(tmp_path):
    root = write_voc(tmp_path / "data")
    shutil.move(root / "JPEGImages", tmp_path / "photos")
    layout = recognise(str(tmp_path / "photos"), str(root))
    path = coco_file(layout.splits["train"], "train", output=str(tmp_path))
    assert boxes_of(path) == expected(SPLITS["train"])
    assert [r["file_name"] for r in json.loads(Path(path).read_text())["images"]] == [
        "one.png",
        "two.png",
    ]


def test_a_place_for_each_split(tmp_path):
    for split, stems in SPLITS.items():
        for stem in stems:
            write_image(tmp_path / split / f"{stem}.png", stem)
            write_text(tmp_path / split / f"{stem}.xml", voc_xml(stem))
    places = {split: str(tmp_path / split) for split in SPLITS}
    layout = recognise_splits(places, {})
    assert layout.format == "voc"
    for split, stems in SPLITS.items():
        path = coco_file(layout.splits[split], split, output=str(tmp_path))
        assert boxes_of(path) == expected(stems)


def test_a_place_lacks_its_split(tmp_path):
    write_yolo(tmp_path)
    with pytest.raises(DataError, match="there is no extra"):
        recognise_splits({"extra": str(tmp_path)}, {})
    with pytest.raises(ConfigError, match="'val' are missing"):
        recognise_splits({"train": str(tmp_path)}, {"train": str(tmp_path), "val": "x"})


def test_two_formats_of_the_same_images(tmp_path):
    write_cvat_coco(tmp_path)
    for stem in IMAGES:
        write_text(tmp_path / f"xml/{stem}.xml", voc_xml(stem))
    layout = recognise(str(tmp_path))
    assert layout.format == "coco_format"
    assert any("Pascal VOC" in line and "--dataset=voc" in line for line in layout.lines)
    assert recognise(str(tmp_path), wanted="voc").format == "voc"


def test_two_formats_that_differ_are_not_guessed(tmp_path):
    write_cvat_coco(tmp_path)
    write_text(tmp_path / "xml/one.xml", voc_xml("one"))
    with pytest.raises(DataError, match=r"COCO JSON of 4 images; Pascal VOC of 1 .*--dataset=voc"):
        recognise(str(tmp_path))


def test_two_formats_none_of_them_coco_are_not_guessed(tmp_path):
    for stem in IMAGES:
        write_image(tmp_path / f"{stem}.png", stem)
        write_text(tmp_path / f"{stem}.xml", voc_xml(stem))
        write_text(tmp_path / f"{stem}.json", labelme_json(stem))
    with pytest.raises(DataError, match="Pascal VOC of 4 images; LabelMe of 4 images"):
        recognise(str(tmp_path))


def test_a_folder_without_labels(tmp_path):
    write_image(tmp_path / "one.png", "one")
    with pytest.raises(DataError, match=r"no labels that are known .*; it has 1 \.png"):
        recognise(str(tmp_path))
    with pytest.raises(DataError, match="no labels that are known \\(YOLO\\)"):
        recognise(str(tmp_path), wanted="yolo")
    with pytest.raises(DataError, match="there is no such folder"):
        recognise(str(tmp_path / "nowhere"))


def test_files_that_may_be_one_split(tmp_path):
    write_cvat_coco(tmp_path)
    write_text(
        tmp_path / "annotations/other.json",
        (tmp_path / "annotations/instances_default.json").read_text(),
    )
    with pytest.raises(DataError, match=r"2 annotation files.*--annotations=train=FILE"):
        recognise(str(tmp_path))
