"""What YOLO's folders say of classes and splits, as ultralytics, darknet, CVAT and Roboflow do."""

import pytest

from components.labels.label_folder import LabelFolder
from components.labels.yolo_layout import NamedSplits, class_list, data_yaml, has_labels
from pix2seq_model.errors import DataError
from tests.fixtures.label_exports import write_image, write_text, yolo_lines

NAMES = "names: [cat, dog, bus]\n"


def folder_with(root, **texts):
    """Texts by path, `__` for a slash and `_` for a point."""
    for path, text in texts.items():
        write_text(root / path.replace("__", "/").replace("_", "."), text)
    return LabelFolder(str(root))


def with_images(root, *paths):
    for path in paths:
        write_image(root / path, "one")


def named(folder):
    return NamedSplits(folder, folder, data_yaml(folder))


def test_text_files_that_are_labels(tmp_path):
    assert not has_labels(folder_with(tmp_path, README_roboflow_txt="a 1 2 3 4 5", notes_txt="Hi."))
    write_text(tmp_path / "one.txt", "cat 0.5 0.5 0.1 0.1\n")
    assert has_labels(LabelFolder(str(tmp_path)))


def test_an_empty_file_is_labels(tmp_path):
    assert has_labels(folder_with(tmp_path, one_txt=""))


def test_names_in_a_file_of_their_own(tmp_path):
    folder = folder_with(tmp_path, data_yaml="names: data/obj.names", obj_names="cat\ndog\n")
    assert data_yaml(folder)[1]["names"] == {0: "cat", 1: "dog"}
    (tmp_path / "obj.names").unlink()
    with pytest.raises(DataError, match=r"data.yaml: names are 'data/obj.names', and no such"):
        data_yaml(LabelFolder(str(tmp_path)))
    # Looked for from each of its folders on, this would not end.
    (tmp_path / "data.yaml").write_text(f"names: {'a/' * 200_000}x")
    with pytest.raises(DataError, match=r"names are 'a/a/.{1,100}, and no such file is there"):
        data_yaml(LabelFolder(str(tmp_path)))


def test_two_files_that_name_the_classes_differently(tmp_path):
    folder = folder_with(tmp_path, a_yaml="names: [cat, dog]", data_yaml="names: [dog, cat]")
    with pytest.raises(DataError, match=r"a.yaml and data.yaml give the classes different"):
        data_yaml(folder)


def test_the_file_with_the_splits_is_taken(tmp_path):
    folder = folder_with(tmp_path, a_yaml=NAMES, data_yaml=f"train: x\n{NAMES}")
    assert data_yaml(folder)[0] == "data.yaml"


def test_yaml_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"data.yaml: no YAML .*tabs must be spaces"):
        data_yaml(folder_with(tmp_path, data_yaml="names:\n\t0: cat\n"))


def test_lists_of_classes_that_grew(tmp_path):
    folder = folder_with(tmp_path, train__classes_txt="cat\n", val__classes_txt="cat\ndog\n")
    assert class_list(folder) == {0: "cat", 1: "dog"}
    write_text(tmp_path / "train/classes.txt", "dog\n")
    with pytest.raises(DataError, match=r"train/classes.txt and val/classes.txt give the classes"):
        class_list(folder)


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("../train/images", "../val/images"),  # Roboflow's.
        ("train/images", "val/images"),
        ("D:\\\\set\\\\Train\\\\Images", "D:\\\\set\\\\Val\\\\Images"),
        ("/content/train_it/train/images", "/content/train_it/val/images"),
    ],
)
def test_places_in_a_folder_inside_the_one_given(train, val, tmp_path):
    with_images(tmp_path, "set.v1/train/images/one.png", "set.v1/val/images/two.png")
    text = f'path: ../datasets/x\ntrain: "{train}"\nval: "{val}"\n{NAMES}'
    write_text(tmp_path / "set.v1/data.yaml", text)
    assert named(LabelFolder(str(tmp_path))).images == {
        "train": ["set.v1/train/images/one.png"],
        "val": ["set.v1/val/images/two.png"],
    }


def test_a_split_that_is_not_there_and_no_images_that_may_be_it(tmp_path):
    with_images(tmp_path, "train/images/one.png")
    yaml = f"train: ../train/images\nval: ../valid/images\n{NAMES}"
    found = named(folder_with(tmp_path, data_yaml=yaml))
    assert found.images == {"train": ["train/images/one.png"]}
    assert found.note == "data.yaml names val: ../valid/images, which is not there"
    with_images(tmp_path, "dev/images/two.png")
    with pytest.raises(DataError, match=r"data.yaml: \.\./valid/images is not in"):
        named(LabelFolder(str(tmp_path)))


def test_images_that_were_moved_together_are_not_all_of_each_split(tmp_path):
    with_images(tmp_path, "images/one.png")
    yaml = f"train: ../train/images\nval: ../valid/images\n{NAMES}"
    found = named(folder_with(tmp_path, data_yaml=yaml))
    assert found.images == {}
    assert "folders, say the splits" in found.note


def test_darknets_lists(tmp_path):
    """`valid` may be called test; paths are those of the machine it was written on."""
    with_images(tmp_path, "data/obj/one.png", "data/obj/two.png")
    folder = folder_with(
        tmp_path,
        data__obj_data="classes= 3\ntrain  = data/train.txt\nvalid = data/test.txt\n",
        data__train_txt="data/obj/one.png\ndata/obj/lost.png\n",
        data__test_txt="C:\\darknet\\data\\obj\\two.png\r\n",
    )
    assert named(folder).images == {
        "train": ["data/obj/lost.png", "data/obj/one.png"],
        "val": ["data/obj/two.png"],
    }
    (tmp_path / "data/obj.data").unlink()
    assert named(LabelFolder(str(tmp_path))).images.keys() == {"train", "test"}


def test_cvats_lists_of_images_that_lie_elsewhere(tmp_path):
    with_images(tmp_path, "photos/cam 1/one.png")
    labels = folder_with(
        tmp_path / "labels",
        obj_data="train = data/train.txt\n",
        train_txt="data/obj_train_data/cam 1/one.png\n",
    )
    images = LabelFolder(str(tmp_path / "photos"))
    assert NamedSplits(labels, images, ("", {})).images == {"train": ["cam 1/one.png"]}


def test_two_lines_that_may_be_one_image(tmp_path):
    with_images(tmp_path, "one.png")
    folder = folder_with(tmp_path, train_txt="a/images/one.png\nb/images/one.png\n")
    with pytest.raises(DataError, match=r"lists a/images/one.png and b/images/one.png, and both"):
        named(folder)


def test_a_label_file_is_no_list(tmp_path):
    with_images(tmp_path, "train.png")
    write_text(tmp_path / "train.txt", yolo_lines("one"))
    assert named(LabelFolder(str(tmp_path))).images == {}
