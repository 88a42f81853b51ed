"""All images in one file: Open Images and Label Studio."""

import json

import pytest

from components.labels.label_folder import LabelFolder
from components.labels.table_labels import LabelStudioLabels, OpenImagesLabels
from pix2seq_model.errors import DataError
from tests.fixtures.label_exports import (
    label_studio_task,
    write_image,
    write_label_studio,
    write_open_images,
    write_text,
)


def labels_of(kind, root):
    folder = LabelFolder(str(root))
    return kind(folder, folder)


def test_the_names_that_label_studio_gives_uploads(tmp_path):
    write_image(tmp_path / "images/one.png", "one")
    write_image(tmp_path / "images/0123abcd-two.png", "two")
    write_image(tmp_path / "images/two.png", "three")
    tasks = [
        label_studio_task("one", 1),
        label_studio_task("two", 2),
        label_studio_task("one", 3, name="/data/local-files/?d=C%3A%5Cset%5Cimages%5Cone.png"),
        {**label_studio_task("two", 4), "annotations": []},
    ]
    write_text(tmp_path / "export.json", json.dumps(tasks))
    labels = labels_of(LabelStudioLabels, tmp_path)
    assert [image.file_name for image in labels.read("")] == [
        "0123abcd-one.png",
        "images/0123abcd-two.png",
        "images/one.png",
    ]
    assert labels.left_out == {"tasks that nobody has labelled yet": 1}


def test_open_images_rows_of_an_image_may_be_apart(tmp_path):
    write_open_images(tmp_path)
    table = tmp_path / "train-annotations-bbox.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, rows[0], rows[2], rows[1]]) + "\n")
    labels = labels_of(OpenImagesLabels, tmp_path)
    found = [(image.file_name, len(image.boxes)) for image in labels.read("train")]
    assert found == [("train/one.png", 1), ("train/two.png", 1), ("train/one.png", 1)]


def test_without_names_of_the_classes(tmp_path):
    write_open_images(tmp_path)
    (tmp_path / "class-descriptions-boxable.csv").unlink()
    labels = labels_of(OpenImagesLabels, tmp_path)
    assert next(labels.read("train")).boxes[0].label == "/m/00"
    assert labels.left_out


def test_two_files_of_one_split(tmp_path):
    write_label_studio(tmp_path)
    write_text(tmp_path / "project-2.json", (tmp_path / "project-1.json").read_text())
    with pytest.raises(DataError, match="several files of labels, project-1"):
        labels_of(LabelStudioLabels, tmp_path)


def test_the_users_own_photographs_without_the_digits(tmp_path):
    """Two uploads may come to one file: the conversion sees that, by names as they are."""
    write_image(tmp_path / "images/one.png", "one")
    name = "/data/upload/1/ffffffff-one.png"
    tasks = [label_studio_task("one", 1), label_studio_task("two", 2, name=name)]
    write_text(tmp_path / "export.json", json.dumps(tasks))
    found = [image.file_name for image in labels_of(LabelStudioLabels, tmp_path).read("")]
    assert found == ["0123abcd-one.png", "ffffffff-one.png"]


def test_a_byte_order_mark_and_damage(tmp_path):
    text = "\ufeff" + json.dumps([label_studio_task("one", 1)])
    write_text(tmp_path / "export.json", text)
    assert len(list(labels_of(LabelStudioLabels, tmp_path).read(""))) == 1
    write_text(tmp_path / "export.json", text[:-1])
    with pytest.raises(DataError, match=r"export.json: broken JSON after row 1 .*export it again"):
        list(labels_of(LabelStudioLabels, tmp_path).read(""))


@pytest.mark.parametrize("name", ["train-annotations-bbox.csv", "class-descriptions-boxable.csv"])
def test_a_table_with_a_quotation_mark_that_nothing_closes_is_named(name, tmp_path):
    write_open_images(tmp_path)
    table = tmp_path / name
    table.write_text(table.read_text() + '"' + "x" * 140_000)
    with pytest.raises(DataError, match=rf"{name} cannot be read as a table: near line \d"):
        list(labels_of(OpenImagesLabels, tmp_path).read("train"))
