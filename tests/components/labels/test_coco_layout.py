"""COCO's files in a folder: which are annotations, of which split, and where their images are."""

import json
import zipfile

import pytest

from components.labels.coco_layout import coco_files, files_by_split, folder_of_images
from components.labels.label_folder import LabelFolder
from pix2seq_model.errors import DataError
from tests.fixtures.label_exports import coco_content, write_image, write_text


def folder_with(root, *paths, stems=("one",)):
    for path in paths:
        write_text(root / path, json.dumps(coco_content(stems)))
    return LabelFolder(str(root))


def test_other_json_files_are_none(tmp_path):
    write_text(tmp_path / "results.json", '[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]')
    write_text(tmp_path / "notes.json", '{"categories": [], "info": {}}')
    write_text(tmp_path / "one.json", '{"shapes": [], "imagePath": "one.png", "images": 1}')
    folder = folder_with(tmp_path, "a/labels.json")
    assert coco_files(folder) == ["a/labels.json"]


def test_captions_and_key_points_of_coco_are_left(tmp_path):
    kinds = ("captions", "person_keypoints", "instances")
    folder = folder_with(tmp_path, *(f"annotations/{kind}_train2017.json" for kind in kinds))
    files = coco_files(folder)
    assert files == ["annotations/instances_train2017.json"]
    assert files_by_split(folder, files) == {"train": files[0]}


def test_a_file_that_begins_with_its_annotations(tmp_path):
    content = coco_content(("one",))
    write_text(tmp_path / "x.json", json.dumps(dict(reversed(content.items()))))
    assert coco_files(LabelFolder(str(tmp_path))) == ["x.json"]


def test_several_files_of_a_split(tmp_path):
    folder = folder_with(tmp_path, "train_a.json", "train_b.json")
    with pytest.raises(DataError, match=r"train_a.json and train_b.json are.*or join"):
        files_by_split(folder, coco_files(folder))


@pytest.mark.parametrize("where", ["", "images", "val2017", "deep/er"])
def test_the_folder_from_which_the_names_lead(where, tmp_path):
    write_image(tmp_path / where / "one.png", "one")
    folder = folder_with(tmp_path, "annotations/instances_val.json")
    found = folder_of_images(folder, "annotations/instances_val.json", folder, "val")
    assert found == f"{tmp_path}/{where}".rstrip("/")


def test_of_two_folders_that_of_the_split(tmp_path):
    for name in ("train", "val"):
        write_image(tmp_path / f"{name}/one.png", "one")
    folder = folder_with(tmp_path, "annotations/instances_val.json")
    found = folder_of_images(folder, "annotations/instances_val.json", folder, "val")
    assert found == f"{tmp_path}/val"


def test_nobody_can_tell_the_folder_so_the_rows_are_looked_for_one_by_one(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}/one.png", "one")
    folder = folder_with(tmp_path, "labels.json")
    assert folder_of_images(folder, "labels.json", folder, "train") == str(tmp_path)


def test_never_the_images_of_another_split(tmp_path):
    write_image(tmp_path / "val/one.png", "one")
    folder = folder_with(tmp_path, "train.json", "val.json")
    assert folder_of_images(folder, "train.json", folder, "train") == str(tmp_path)
    assert folder_of_images(folder, "val.json", folder, "val") == f"{tmp_path}/val"


def test_an_archive_of_images_is_one_place(tmp_path):
    write_image(tmp_path / "one.png", "one")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "one.png", "images/one.png")
    folder, images = folder_with(tmp_path, "x.json"), LabelFolder(str(tmp_path / "all.zip"))
    assert folder_of_images(folder, "x.json", images, "train") == str(tmp_path / "all.zip")


def test_a_data_set_whose_own_name_is_a_splits(tmp_path):
    names = [f"My test/annotations/instances_{split}.json" for split in ("train", "val")]
    folder = folder_with(tmp_path, *names)
    assert [*files_by_split(folder, coco_files(folder))] == ["train", "val"]
