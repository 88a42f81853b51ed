"""Labels with a file for each image: which image is meant, and what is lost is counted."""

import pytest

from components.labels.label_folder import LabelFolder
from components.labels.label_sets import LabelMeLabels
from components.labels.voc_labels import VocLabels
from pix2seq_model.errors import DataError
from tests.fixtures.label_exports import labelme_json, voc_xml, write_image, write_text


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


def test_labels_beside_the_folders_of_splits(tmp_path):
    write_text(tmp_path / "train/one.xml", voc_xml("one"))
    write_text(tmp_path / "more/two.xml", voc_xml("two"))
    with pytest.raises(DataError, match=r"more/two.xml is in no folder of a split"):
        read(VocLabels, tmp_path)


def test_several_sets_with_the_same_names(tmp_path):
    for year, stem in (("2007", "one"), ("2012", "two")):
        write_image(tmp_path / f"VOC{year}/JPEGImages/1.png", stem)
        write_text(tmp_path / f"VOC{year}/Annotations/1.xml", voc_xml(stem, file_name="1.png"))
    _, images = read(VocLabels, tmp_path)
    found = {image.file_name: len(image.boxes) for image in images}
    assert found == {"VOC2007/JPEGImages/1.png": 2, "VOC2012/JPEGImages/1.png": 1}
    # The labels of a lost image are not another set's.
    (tmp_path / "VOC2007/JPEGImages/1.png").unlink()
    _, images = read(VocLabels, tmp_path)
    assert "to which VOC2012/Annotations/1.xml is as near" in images[0].problem
    assert [image.problem for image in images[1:]] == [""]


def test_masks_are_not_the_image(tmp_path):
    write_image(tmp_path / "JPEGImages/one.png", "one")
    write_image(tmp_path / "SegmentationClass/one.png", "one")
    write_text(tmp_path / "Annotations/one.xml", voc_xml("one", file_name="one"))
    labels, images = read(VocLabels, tmp_path)
    assert [(i.file_name, i.problem) for i in images] == [("JPEGImages/one.png", "")]
    assert not labels.left_out


def test_files_of_something_else_beside_the_folders_of_splits(tmp_path):
    for name in ("train", "val"):
        write_text(tmp_path / f"{name}/one.json", labelme_json("one"))
    write_text(tmp_path / "settings.json", "{}")
    labels, _ = read(LabelMeLabels, tmp_path, "train")
    assert labels.splits == ("train", "val")


def test_the_image_itself_before_the_shapes(tmp_path):
    write_text(tmp_path / "one.json", '{"imageData": "' + 9000 * "A" + '", "shapes": []}')
    assert LabelMeLabels.is_in(LabelFolder(str(tmp_path)))
