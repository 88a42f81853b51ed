"""A folder's files, listed once."""

import zipfile

import pytest

from components.labels.label_folder import LabelFolder, only_role
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
        ("constraints/latest", ""),
        ("", ""),
    ],
)
def test_what_a_path_says_of_the_split(path, role):
    assert only_role(path) == role


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


def test_reading_in_order(tmp_path):
    paths = [f"{number:03}.txt" for number in range(300)]
    for path in paths:
        write_text(tmp_path / path, path)
    found = list(LabelFolder(str(tmp_path)).read_all(paths))
    assert found == [(path, path.encode()) for path in paths]


def test_a_place_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        LabelFolder(str(tmp_path / "nowhere"))
