"""A folder's files, listed once."""

import unicodedata
import zipfile

import pytest

from components.labels.label_folder import LabelFolder
from components.storage.image_names import split_role
from pix2seq_model.errors import DataError
from tests.fixtures.label_exports import write_image, write_text


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("train/labels", "train"),
        ("Valid", "val"),
        ("instances_val2017.json", "val"),
        ("validation-annotations-bbox.csv", "val"),
        ("testing/images", "test"),
        ("train_and_val", ""),
        ("train/test_scene", "train"),
        ("train/val", ""),
        ("constraints/latest", ""),
        ("", ""),
    ],
)
def test_what_a_path_says_of_the_split(path, role):
    assert split_role(path) == role


def test_a_folder_of_the_whole_data_set_says_no_split(tmp_path):
    for path in ("My test run/train/x/one.xml", "My test run/valid/two.xml"):
        write_text(tmp_path / path, "x")
    folder = LabelFolder(str(tmp_path))
    assert folder.split_of("My test run/annotations.json") == ""
    assert folder.split_of("My test run/valid") == "val"
    only = LabelFolder(str(tmp_path / "My test run/train"))
    assert only.split_of("x") == ""


def test_images_of_a_name_nearest_to_the_labels(tmp_path):
    paths = ["VOC2007/JPEGImages/1.png", "VOC2012/JPEGImages/1.png", "VOC2012/masks/1.png"]
    for path in paths:
        write_image(tmp_path / path, "one")
    folder = LabelFolder(str(tmp_path))
    assert folder.images_called("1") == paths[:2]
    assert folder.nearest(paths[:2], "VOC2012/Annotations/1.xml", split="") == [paths[1]]
    assert folder.nearest(paths[:2], "xml/1.xml", split="") == paths[:2]
    beside = ["a/cat/1.png", "a/dog/1.png"]
    assert folder.nearest(beside, "b/dog/1.xml", split="") == ["a/dog/1.png"]


def test_names_that_differ_in_case_or_unicodes_normal_form(tmp_path):
    write_image(tmp_path / unicodedata.normalize("NFD", "Bär.PNG"), "one")
    folder = LabelFolder(str(tmp_path))
    assert folder.images_called(unicodedata.normalize("NFC", "bär")) == folder.images


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_text(encoding, tmp_path):
    (tmp_path / "classes.txt").write_bytes("Bär\r\n".encode(encoding))
    assert LabelFolder(str(tmp_path)).text("classes.txt").split() == ["Bär"]


def test_text_in_another_encoding_is_not_guessed(tmp_path):
    (tmp_path / "classes.txt").write_bytes("Bär".encode("latin-1"))
    with pytest.raises(DataError, match=r"classes.txt is not UTF-8 .*save it"):
        LabelFolder(str(tmp_path)).text("classes.txt")


def test_hidden_files_are_left_out(tmp_path):
    write_text(tmp_path / ".cache/one.xml", "x")
    write_text(tmp_path / "a/._one.xml", "x")
    write_text(tmp_path / "b/one.xml", "x")
    folder = LabelFolder(str(tmp_path))
    assert folder.files == ["b/one.xml"]
    assert folder.folders == {"b"}


def test_images_in_a_zip_archive(tmp_path):
    write_image(tmp_path / "one.png", "one")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "one.png", "pictures/one.png")
        archive.writestr("pictures/one.txt", "0 0 0 0 0")
    folder = LabelFolder(str(tmp_path / "all.zip"))
    assert folder.images == ["pictures/one.png"]
    with pytest.raises(DataError, match=r"all.zip has labels in it .*unpack it"):
        folder.read("pictures/one.txt")


def test_reading_in_order(tmp_path):
    paths = [f"{number:03}.txt" for number in range(300)]
    for path in paths:
        write_text(tmp_path / path, path)
    found = list(LabelFolder(str(tmp_path)).read_all(paths))
    assert found == [(path, path.encode()) for path in paths]


def test_a_place_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        LabelFolder(str(tmp_path / "nowhere"))
