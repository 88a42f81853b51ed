"""A folder is recognised by what is in it, and every format gives the same boxes."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from components.labels.layout import coco_file, recognise, recognise_splits, split_to_evaluate
from components.storage.files import list_files
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


@pytest.mark.parametrize("name", ["data.yaml", "_annotations.coco.json"])
def test_a_file_of_the_labels_is_named(name, tmp_path):
    root = (
        write_yolo(tmp_path) if name.endswith("yaml") else write_roboflow_coco(tmp_path) / "valid"
    )
    layout = recognise(str(root), str(root / name))
    assert "train" in layout.splits
    assert layout.splits["train"].annotations == str(root if name.endswith("yaml") else root / name)


def test_one_of_many_files_is_named(tmp_path):
    root = write_voc(tmp_path)
    with pytest.raises(DataError, match=r"one.xml is one file of the labels: give the folder"):
        recognise(str(root), str(root / "Annotations/one.xml"))
    with pytest.raises(DataError, match=r"lost.json: there is no such file"):
        recognise(str(root), str(root / "lost.json"))


def test_a_named_file_is_found_without_listing_its_folder(tmp_path, monkeypatch):
    root = write_cvat_coco(tmp_path / "set")
    named = tmp_path / "labels.json"
    shutil.move(root / "annotations/instances_default.json", named)
    listed = []
    monkeypatch.setattr(
        "components.labels.label_folder.list_files",
        lambda folder: listed.append(folder) or list_files(folder),
    )
    assert recognise(str(root), str(named)).splits["train"].images == f"{root}/images/default"
    assert listed == [str(root)]


def test_one_split_of_a_folder_given_for_another(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}/train/one.png", "one")
        write_text(tmp_path / f"{name}/train/one.xml", voc_xml("one"))
    layout = recognise_splits({"train": str(tmp_path / "a"), "val": str(tmp_path / "b")}, {})
    path = coco_file(layout.splits["val"], "val", output=str(tmp_path))
    assert boxes_of(path) == expected(["one"])


@pytest.mark.parametrize("kind", ["coco_format", "voc"])
def test_a_folder_without_splits_is_evaluated_as_what_it_is_called(kind, tmp_path):
    if kind == "voc":
        root = tmp_path / "test"
        write_image(root / "one.png", "one")
        write_text(root / "one.xml", voc_xml("one"))
    else:
        write_roboflow_coco(tmp_path)
        root = (tmp_path / "valid").rename(tmp_path / "test")
    layout = recognise(str(root))
    assert (layout.format, layout.names_splits) == (kind, False)
    assert not any(", train" in line for line in layout.lines)
    source = layout.splits["train"]
    for wanted, split in (("", "test"), ("test", "test"), ("holdout", "holdout")):
        assert split_to_evaluate(layout, f"{root}/", wanted=wanted) == (split, source)
    assert split_to_evaluate(layout, "photos/valid") == ("val", source)
    assert split_to_evaluate(layout, "photos") == ("test", source)
    assert [*boxes_of(coco_file(source, "test", output=str(tmp_path / "out")))]


def test_of_several_splits_one_is_evaluated(tmp_path):
    root = str(write_yolo(tmp_path / "photos"))
    layout = recognise(root)
    assert layout.names_splits
    assert split_to_evaluate(layout, root)[0] == "val"
    assert split_to_evaluate(layout, root, wanted="train")[0] == "train"
    with pytest.raises(ConfigError, match="--split=holdout: choose one of train, val"):
        split_to_evaluate(layout, root, wanted="holdout")


def test_a_packed_export(tmp_path):
    write_roboflow_coco(tmp_path / "data")
    shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "data")
    with pytest.raises(DataError, match=r"export.zip has labels in it .*unpack it"):
        recognise(str(tmp_path / "export.zip"))
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(DataError, match=r"export.zip is packed: unpack it"):
        recognise(str(tmp_path))


def test_labels_beside_an_archive_of_images(tmp_path):
    root = write_cvat_coco(tmp_path / "data")
    shutil.make_archive(str(root / "images"), "zip", root / "images")
    shutil.rmtree(root / "images")
    with pytest.raises(
        DataError, match=r"no images but images.zip: .*--images=\S+images.zip --anno"
    ):
        recognise(str(root))
    layout = recognise(str(root / "images.zip"), str(root))
    assert layout.splits["train"].images == str(root / "images.zip")


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "a.json is empty"),
        ('{"images": []}'.encode("utf-16"), "a.json is text in UTF-16: save it as UTF-8"),
        (b'{"imag', "a.json is JSON of another kind, or cut off"),
    ],
)
def test_a_file_that_may_be_labels_and_cannot_be_read(content, hint, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=hint):
        recognise(str(tmp_path))


def test_classes_without_names(tmp_path):
    root = write_yolo(tmp_path)
    with pytest.raises(DataError, match=r"look like YOLO's, but no data.yaml or classes.txt"):
        recognise(str(root / "train"))


def test_what_is_not_there_is_said(tmp_path):
    root = write_yolo(tmp_path)
    shutil.rmtree(root / "test")
    assert "data.yaml names test: ../test/images, which is not there" in recognise(str(root)).lines


def test_links_to_folders_elsewhere(tmp_path):
    write_voc(tmp_path / "set")
    shutil.move(tmp_path / "set/JPEGImages", tmp_path / "disk")
    (tmp_path / "set/JPEGImages").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/back").symlink_to(tmp_path)
    (tmp_path / "set/again").symlink_to(tmp_path / "set/Annotations")
    layout = recognise(str(tmp_path / "set"))
    path = coco_file(layout.splits["train"], "train", output=str(tmp_path))
    assert boxes_of(path) == expected(SPLITS["train"])
    assert len(list(list_files(str(tmp_path / "set")))) == 10
