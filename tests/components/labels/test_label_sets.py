"""Labels with a file for each image: which image is meant, and what is lost is counted."""

import pytest

from components.labels.label_folder import LabelFolder
from components.labels.label_sets import LabelMeLabels, VocLabels
from pix2seq_model.errors import DataError
from tests.fixtures.label_exports import labelme_json, voc_xml, write_image, write_text, write_voc


def read(kind, root, split=""):
    folder = LabelFolder(str(root))
    labels = kind(folder, folder)
    return labels, list(labels.read(split))


def test_an_xml_file_that_names_another_kind_of_image(tmp_path):
    write_image(tmp_path / "images/one.png", "one")
    write_text(tmp_path / "xml/one.xml", voc_xml("one", file_name="one.jpg"))
    _, images = read(VocLabels, tmp_path)
    assert [(image.file_name, image.problem) for image in images] == [("images/one.png", "")]


def test_an_xml_file_named_otherwise_than_its_image(tmp_path):
    write_image(tmp_path / "images/one.png", "one")
    write_text(tmp_path / "xml/0001.xml", voc_xml("one"))
    _, images = read(VocLabels, tmp_path)
    assert images[0].file_name == "images/one.png"


def test_nobody_can_tell_which_image_is_meant(tmp_path):
    write_image(tmp_path / "images/one.png", "one")
    write_image(tmp_path / "images/two.png", "two")
    write_text(tmp_path / "xml/two.xml", voc_xml("one"))
    _, images = read(VocLabels, tmp_path)
    assert images[0].problem.startswith(
        "xml/two.xml: its image may be images/one.png or images/two"
    )


def test_images_of_one_name_in_two_splits(tmp_path):
    for split, stem in (("train", "one"), ("valid", "two")):
        write_image(tmp_path / f"{split}/images/same.png", stem)
        write_text(tmp_path / f"{split}/xml/same.xml", voc_xml(stem, file_name="same.png"))
    labels, images = read(VocLabels, tmp_path, "val")
    assert labels.splits == ("train", "val")
    assert images[0].file_name == "valid/images/same.png"


def test_a_broken_file_is_an_image_with_a_problem(tmp_path):
    write_image(tmp_path / "one.png", "one")
    write_text(tmp_path / "one.xml", voc_xml("one")[:-20])
    write_text(tmp_path / "two.xml", voc_xml("two"))
    write_image(tmp_path / "two.png", "two")
    _, images = read(VocLabels, tmp_path)
    assert images[0].file_name == "one.png"
    assert images[0].problem.startswith("one.xml: no XML that can be read: ")
    assert not images[1].problem


def test_what_has_no_labels_is_counted(tmp_path):
    for stem in ("one", "two"):
        write_image(tmp_path / f"{stem}.png", stem)
    write_text(tmp_path / "one.json", labelme_json("one"))
    write_text(tmp_path / "notes.json", "{}")
    labels, images = read(LabelMeLabels, tmp_path)
    assert [image.file_name for image in images] == ["one.png"]
    assert labels.left_out == {
        ".json files that are not LabelMe's": 1,
        "images without a file of labels (LabelMe)": 1,
    }


@pytest.mark.parametrize("path", ["..\\images\\one.png", "../images/one.png", "C:\\x\\one.png"])
def test_paths_of_labelme(path, tmp_path):
    write_image(tmp_path / "images/one.png", "one")
    write_text(tmp_path / "labels/one.json", labelme_json("one", image_path=path))
    _, images = read(LabelMeLabels, tmp_path)
    assert images[0].file_name == "images/one.png"


def test_a_list_names_a_file_that_is_not_there(tmp_path):
    root = write_voc(tmp_path)
    (root / "Annotations/two.xml").unlink()
    with pytest.raises(DataError, match=r"train.txt lists Annotations/two.xml, .*1 of 2"):
        read(VocLabels, root)


def test_lists_of_train_and_val_together(tmp_path):
    root = write_voc(tmp_path)
    (root / "ImageSets/Main/train.txt").rename(root / "ImageSets/Main/trainval.txt")
    (root / "ImageSets/Main/val.txt").rename(root / "ImageSets/Main/test.txt")
    labels, images = read(VocLabels, root, "train")
    assert labels.splits == ("train", "test")
    assert len(images) == 2


def test_labels_beside_the_folders_of_splits(tmp_path):
    write_text(tmp_path / "train/one.xml", voc_xml("one"))
    write_text(tmp_path / "more/two.xml", voc_xml("two"))
    with pytest.raises(DataError, match=r"more/two.xml is in no folder of a split"):
        read(VocLabels, tmp_path)
