"""Pascal VOC's lists of splits, and what is in none of them."""

import pytest

from components.labels.label_folder import LabelFolder
from components.labels.voc_labels import VocLabels
from pix2seq_model.errors import DataError
from tests.fixtures.label_exports import voc_xml, write_image, write_text, write_voc


def read(root, split=""):
    folder = LabelFolder(str(root))
    labels = VocLabels(folder, folder)
    return labels, list(labels.read(split))


def test_a_list_names_a_file_that_is_not_there(tmp_path):
    root = write_voc(tmp_path)
    (root / "Annotations/two.xml").unlink()
    (root / "JPEGImages/two.png").unlink()
    with pytest.raises(DataError, match=r"train.txt lists Annotations/two.xml, .*1 of 2"):
        read(root)


def test_lists_of_train_and_val_together(tmp_path):
    root = write_voc(tmp_path)
    (root / "ImageSets/Main/train.txt").rename(root / "ImageSets/Main/trainval.txt")
    (root / "ImageSets/Main/val.txt").rename(root / "ImageSets/Main/test.txt")
    labels, images = read(root, "train")
    assert labels.splits == ("train", "test")
    assert len(images) == 2


def test_a_listed_image_without_a_file_has_no_objects_as_cvat_writes_it(tmp_path):
    for stem in ("one", "two"):
        write_image(tmp_path / f"JPEGImages/{stem}.png", stem)
    write_text(tmp_path / "Annotations/one.xml", voc_xml("one"))
    write_text(tmp_path / "ImageSets/Main/default.txt", "one\ntwo\n")
    labels, images = read(tmp_path)
    found = [(image.file_name, len(image.boxes)) for image in images]
    assert found == [("JPEGImages/one.png", 2), ("JPEGImages/two.png", 0)]
    assert [*labels.left_out.values()] == [1]


def test_none_of_the_listed_has_a_file(tmp_path):
    write_voc(tmp_path)
    for path in (tmp_path / "Annotations").glob("t*.xml"):
        path.unlink()
    (tmp_path / "Annotations/one.xml").unlink()
    with pytest.raises(DataError, match=r"train.txt lists Annotations/one.xml, .*2 of 2"):
        read(tmp_path)


@pytest.mark.parametrize("line", ['"my one"', "my one", "my one  1", "my one -1"])
def test_spaces_in_lists_and_their_names_in_capitals(line, tmp_path):
    write_image(tmp_path / "JPEGImages/my one.png", "one")
    write_text(tmp_path / "Annotations/my one.xml", voc_xml("one", file_name="my one.png"))
    write_text(tmp_path / "ImageSets/Main/Validation.txt", f"{line}\r\n")
    write_text(tmp_path / "ImageSets/Main/cat_train.txt", "other  1\n")
    labels, images = read(tmp_path, "val")
    assert labels.splits == ("val",)
    assert [(image.file_name, image.problem) for image in images] == [("JPEGImages/my one.png", "")]


def test_a_file_in_utf_16_and_one_of_another_kind_of_xml(tmp_path):
    write_image(tmp_path / "one.png", "one")
    text = '<?xml version="1.0" encoding="utf-16"?>' + voc_xml("one")
    (tmp_path / "one.xml").write_bytes(text.encode("utf-16"))
    write_text(tmp_path / "pom.xml", "<project/>")
    assert VocLabels.is_in(LabelFolder(str(tmp_path)))
    labels, images = read(tmp_path)
    assert [len(image.boxes) for image in images] == [2]
    assert labels.left_out == {".xml files that are not Pascal VOC's": 1}


def test_a_folder_of_one_split_may_be_given_for_another(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "ImageSets/Main/val.txt").unlink()
    labels, images = read(tmp_path, "val")
    assert labels.splits == ("train",)
    assert len(images) == 2
