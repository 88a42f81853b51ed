"""YOLO's folders, as tools write them."""

import unicodedata

import pytest

from components.labels.label_folder import LabelFolder
from components.labels.yolo_labels import YoloLabels
from pix2seq_model.errors import DataError
from tests.fixtures.label_exports import write_image, write_text, write_yolo, yolo_lines


def labels_of(root):
    folder = LabelFolder(str(root))
    return YoloLabels(folder, folder)


def names(images):
    return [image.file_name for image in images]


def test_the_paths_of_another_machine(tmp_path):
    write_yolo(tmp_path)
    text = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(text.replace("../", "/content/datasets/set-3/"))
    labels = labels_of(tmp_path)
    assert labels.splits == ("train", "val", "test")
    assert names(labels.read("val")) == ["valid/images/four.png", "valid/images/three.png"]


def test_a_path_that_is_not_there(tmp_path):
    write_yolo(tmp_path)
    text = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(text.replace("../valid/images", "../dev/pictures"))
    with pytest.raises(DataError, match=r"data.yaml: \.\./dev/pictures is not in"):
        labels_of(tmp_path)


def test_lists_of_images(tmp_path):
    for stem in ("one", "two"):
        write_image(tmp_path / f"images/{stem}.png", stem)
        write_text(tmp_path / f"labels/{stem}.txt", yolo_lines(stem))
    write_text(tmp_path / "train.txt", "./images/one.png\n")
    write_text(tmp_path / "val.txt", "/home/me/set/images/two.png\n")
    text = "path: .\ntrain: train.txt\nval: val.txt\nnames:\n  0: cat\n  1: dog\n  2: bus\n"
    write_text(tmp_path / "set.yaml", text)
    labels = labels_of(tmp_path)
    assert names(labels.read("train")) == ["images/one.png"]
    assert names(labels.read("val")) == ["images/two.png"]
    assert labels.class_names == {0: "cat", 1: "dog", 2: "bus"}


def test_a_bare_list_of_classes(tmp_path):
    """As LabelImg writes it: text files next to the images, and no splits."""
    for stem in ("one", "two"):
        write_image(tmp_path / f"{stem}.png", stem)
        write_text(tmp_path / f"{stem}.txt", yolo_lines(stem))
    write_text(tmp_path / "classes.txt", "cat\ndog\nbus\n")
    labels = labels_of(tmp_path)
    assert labels.splits == ()
    found = list(labels.read(""))
    assert names(found) == ["one.png", "two.png"]
    assert [box.label for box in found[0].boxes] == ["cat", "bus"]


def test_an_image_without_a_file_has_no_objects_and_a_file_without_an_image_is_missing(tmp_path):
    write_image(tmp_path / "images/one.png", "one")
    write_image(tmp_path / "images/two.png", "two")
    write_text(tmp_path / "labels/one.txt", yolo_lines("one"))
    write_text(tmp_path / "labels/lost.txt", yolo_lines("one"))
    write_text(tmp_path / "classes.txt", "cat\ndog\nbus\n")
    labels = labels_of(tmp_path)
    found = {image.file_name: len(image.boxes) for image in labels.read("")}
    assert found == {"images/one.png": 2, "images/two.png": 0, "labels/lost": 0}
    assert [*labels.left_out.values()] == [1]


def test_no_file_of_labels_at_all_is_a_wrong_folder(tmp_path):
    write_image(tmp_path / "images/one.png", "one")
    write_text(tmp_path / "marks/one.txt", yolo_lines("one"))
    write_text(tmp_path / "classes.txt", "cat\ndog\nbus\n")
    with pytest.raises(DataError, match=r"none of the 1 images .*looked for labels/one.txt"):
        list(labels_of(tmp_path).read(""))


def test_names_that_cannot_be_used(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("train: train/images\nnames: [cat, cat]\n")
    with pytest.raises(DataError, match=r"data.yaml: names has 'cat' twice"):
        labels_of(tmp_path)


def test_without_names(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(DataError, match="with the names of the classes"):
        labels_of(tmp_path)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("Images/one.PNG", "Labels/one.txt"),
        ("images/IMG.png", "labels/img.txt"),
        (f"images/{unicodedata.normalize('NFD', 'ä')}.png", "labels/ä.txt"),
        ("images/one.png", "labels/0123abcd-one.txt"),  # As of Label Studio.
        ("data/JPEGImages/one.png", "data/labels/one.txt"),
    ],
)
def test_spellings_of_an_image_and_its_labels(image, text, tmp_path):
    write_image(tmp_path / image, "one")
    write_text(tmp_path / text, yolo_lines("one"))
    write_text(tmp_path / "classes.txt", "cat\ndog\nbus\n")
    labels = labels_of(tmp_path)
    assert [(i.file_name, len(i.boxes)) for i in labels.read("")] == [(image, 2)]
    assert not labels.left_out


def test_nobody_can_tell_which_upload_it_was(tmp_path):
    write_image(tmp_path / "images/one.png", "one")
    for digits in ("0123abcd", "ffffffff"):
        write_text(tmp_path / f"labels/{digits}-one.txt", yolo_lines("one"))
    write_text(tmp_path / "classes.txt", "cat\ndog\nbus\n")
    (image,) = labels_of(tmp_path).read("")
    assert "labels/0123abcd-one.txt or labels/ffffffff-one.txt" in image.problem


def test_labels_of_cvat_and_images_elsewhere(tmp_path):
    write_image(tmp_path / "photos/cam 1/one.png", "one")
    write_text(tmp_path / "cvat/obj_train_data/cam 1/one.txt", yolo_lines("one"))
    write_text(tmp_path / "cvat/obj.names", "cat\ndog\nbus\n")
    places = (LabelFolder(str(tmp_path / name)) for name in ("cvat", "photos"))
    (image,) = YoloLabels(*places).read("")
    assert len(image.boxes) == 2


def test_what_no_split_has_is_counted_once(tmp_path):
    write_yolo(tmp_path)
    write_image(tmp_path / "more/images/two.png", "two")
    write_text(tmp_path / "more/labels/two.txt", yolo_lines("two"))
    write_text(tmp_path / "valid/labels/lost.txt", yolo_lines("two"))
    write_text(tmp_path / "README.roboflow.txt", "about 1 2 3 4")
    labels = labels_of(tmp_path)
    images = [name for split in labels.splits for name in names(labels.read(split))]
    assert [name for name in images if not name.endswith(".png")] == ["valid/labels/lost"]
    assert labels.left_out == {"images that are in none of the splits": 1}


def test_other_text_files_are_no_labels(tmp_path):
    write_text(tmp_path / "classes.txt", "cat\n")
    write_text(tmp_path / "about.txt", "These are photographs of cats.")
    assert not YoloLabels.is_in(LabelFolder(str(tmp_path)))
