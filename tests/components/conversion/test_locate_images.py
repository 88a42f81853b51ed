"""A file serves one row, whatever the splits, the folders and the spellings."""

import pytest

from components.conversion.batches import pack, unpack
from components.conversion.locate_images import _locate
from components.conversion.options import SplitSource
from components.conversion.read_annotations import FILE_NAME
from tests.fixtures.small_dataset import options


def write(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(number + 1))
    return str(folder)


def locate(sources, *rows):
    """Rows are `split/id`, file name; gives `split/id` to the path, or to the rules."""
    named = [(*key.split("/"), ordinal, name) for ordinal, (key, name) in enumerate(rows)]
    batches = [pack(FILE_NAME, [(s, i, o, n) for s, i, o, n in named])]
    splits = {
        split: SplitSource(images=images, annotations="") for split, images in sources.items()
    }
    found, notes = {}, {}
    for key, batch in _locate(("names/0000", batches), options(splits), {}):
        for image_id, location, refusal, changes in unpack(batch)[1]:
            name = f"{key.partition('/')[0]}/{image_id}"
            found[name] = location[0] if location else refusal[0]
            notes[name] = refusal[1] if refusal else changes
    return found, notes


def test_two_rows_that_come_to_one_file(tmp_path):
    images = write(tmp_path, "a.jpg")
    found, notes = locate(
        {"train": images, "val": images}, ("train/1", "videoA/a.jpg"), ("val/2", "videoB/a.jpg")
    )
    assert found == {"train/1": "image_ambiguous", "val/2": "image_ambiguous"}
    assert (
        notes["train/1"]
        == "videoA/a.jpg would be a.jpg, to which videoB/a.jpg (val image 2) comes too"
    )


@pytest.mark.parametrize("other", ["x/a.jpg", "A.JPG", "/home/me/a.jpg"])
def test_the_row_that_names_the_file_keeps_it(tmp_path, other):
    images = write(tmp_path, "a.jpg")
    found, _ = locate({"train": images}, ("train/1", other), ("train/2", "a.jpg"))
    assert found == {"train/1": "image_ambiguous", "train/2": "a.jpg"}


def test_the_same_file_through_two_folders(tmp_path):
    write(tmp_path, "val/a.jpg")
    sources = {"train": str(tmp_path), "val": str(tmp_path / "val")}
    found, _ = locate(sources, ("train/1", "val/a.jpg"), ("val/2", "x/a.jpg"))
    assert found == {"train/1": "val/a.jpg", "val/2": "image_ambiguous"}


def test_one_image_under_two_ids_and_in_two_splits(tmp_path):
    images = write(tmp_path, "a.jpg")
    found, notes = locate(
        {"train": images, "val": images},
        *[("train/1", "a.jpg"), ("train/2", "a.jpg"), ("val/3", "a.jpg")],
    )
    assert found == {"train/1": "a.jpg", "train/2": "image_duplicate_file", "val/3": "a.jpg"}
    assert notes["train/2"] == "a.jpg is image 1 already"
    assert notes["train/1"] == [["image_in_several_splits", "a.jpg is in val too"]]
    assert notes["val/3"] == [["image_in_several_splits", "a.jpg is in train too"]]


def test_files_of_the_same_name_in_the_folders_of_the_splits(tmp_path):
    images = write(tmp_path, "images/train/a.jpg", "images/val/a.jpg")
    found, notes = locate(
        {"train": images, "val": images}, ("train/1", "a.jpg"), ("val/1", "a.jpg")
    )
    assert found == {"train/1": "images/train/a.jpg", "val/1": "images/val/a.jpg"}
    assert notes == {"train/1": [], "val/1": []}
