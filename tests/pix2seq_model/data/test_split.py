"""Annotation files dealt out, joined and renamed."""

from collections import Counter

import pytest

from pix2seq_model.data.split import (
    boxes_by_class,
    check_lists,
    join_sets,
    map_classes,
    split_images,
)
from pix2seq_model.errors import DataError

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}, {"id": 9, "name": "lorry"}]
FRACTIONS = {"train": 0.6, "val": 0.2, "test": 0.2}


def made(num_images=50, **changes):
    """Every image has a cat, every fifth a lorry."""
    images = [
        {"id": n, "file_name": f"video{n // 5}/{n % 5}.jpg", "video": n // 5}
        for n in range(num_images)
    ]
    rows = [{"id": n, "image_id": n, "category_id": 3, "note": n} for n in range(num_images)]
    rows += [{"id": 100 + n, "image_id": n, "category_id": 9} for n in range(0, num_images, 5)]
    return {"images": images, "annotations": rows, "categories": CATEGORIES, **changes}


def split(content, **how):
    return split_images(content, how.pop("fractions", FRACTIONS), source="labels.json", **how)


def test_every_row_is_in_one_split_and_each_class_in_proportion():
    content = made()
    splits = split(content, seed=1)
    for name in ("images", "annotations"):
        dealt = [row for part in splits.values() for row in part[name]]
        assert sorted(map(repr, dealt)) == sorted(map(repr, content[name]))
    assert [len(part["images"]) for part in splits.values()] == [30, 10, 10]
    assert [boxes_by_class(part) for part in splits.values()] == [
        {"cat": 30, "dog": 0, "lorry": 6},
        {"cat": 10, "dog": 0, "lorry": 2},
        {"cat": 10, "dog": 0, "lorry": 2},
    ]
    for part in splits.values():
        ids = {row["id"] for row in part["images"]}
        assert {row["image_id"] for row in part["annotations"]} <= ids


def test_the_seed_decides_and_not_the_order_of_the_rows():
    def train(content, seed):
        return {row["id"] for row in split(content, seed=seed)["train"]["images"]}

    turned = made(images=made()["images"][::-1])
    assert train(made(), 1) == train(made(), 1) == train(turned, 1)
    assert train(made(), 1) != train(made(), 2)


@pytest.mark.parametrize("group_by", ["folder", "video"])
def test_groups_are_not_parted(group_by):
    splits = split(made(), seed=0, group_by=group_by)
    videos = [{row["video"] for row in part["images"]} for part in splits.values()]
    assert sum(map(len, videos)) == len(set().union(*videos)) == 10
    assert [len(part["images"]) for part in splits.values()] == [30, 10, 10]


def test_images_of_one_id_or_name_stay_together():
    images = [{"id": 1, "file_name": f"{n}.jpg"} for n in range(4)]
    images += [{"id": n, "file_name": "same.jpg"} for n in range(2, 6)]
    images += [{"id": 9, "file_name": "other.jpg"}]
    splits = split(made(images=images, annotations=[]), seed=0)
    assert sorted(len(part["images"]) for part in splits.values()) == [1, 4, 4]


def test_what_belongs_to_no_image_goes_to_the_first_split():
    lost = {"id": 7, "image_id": 12345, "category_id": 3}
    splits = split(made(annotations=[lost]), seed=0)
    assert [part["annotations"] for part in splits.values()] == [[lost], [], []]


def test_too_few_groups_and_absent_fields_are_named():
    with pytest.raises(DataError, match=r"labels.json: the images make 2 groups, too few for"):
        split(made(2), seed=0)
    with pytest.raises(DataError, match=r"images\[0\] .*no 'clip' .* file_name, id, video.*folder"):
        split(made(), seed=0, group_by="clip")


def test_no_split_stays_empty():
    splits = split(made(3), seed=0, fractions={"train": 0.98, "val": 0.01, "test": 0.01})
    assert [len(part["images"]) for part in splits.values()] == [1, 1, 1]


def test_sets_are_joined_by_the_names_of_their_classes():
    other = {
        "images": [{"id": 0, "file_name": "video0/0.jpg"}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 3, "iscrowd": 1}],
        "categories": [{"id": 3, "name": "lorry"}, {"id": 4, "name": "tram"}],
    }
    joined = join_sets([("a.json", "a", made(10)), ("b.json", "b", other)])
    assert [row["name"] for row in joined["categories"]] == ["cat", "dog", "lorry", "tram"]
    assert len({row["id"] for row in joined["images"]}) == len(joined["images"]) == 11
    assert joined["images"][-1]["file_name"] == "b/video0/0.jpg"
    last = joined["annotations"][-1]
    assert last == {"id": 13, "image_id": 11, "category_id": 3, "iscrowd": 1}
    assert boxes_by_class(joined) == {"cat": 10, "dog": 0, "lorry": 3, "tram": 0}
    with pytest.raises(DataError, match=r"b.json and a.json both have an image .*--images"):
        join_sets([("a.json", "", made(10)), ("b.json", "", other)])
    assert join_sets([("b.json", "", other)]) is other


def test_classes_are_renamed_joined_and_left_out():
    mapped = map_classes(made(10), {"cat": "animal", "dog": "animal", "lorry": None}, "map.json")
    assert mapped["categories"] == [{"id": 3, "name": "animal"}]
    assert boxes_by_class(mapped) == {"animal": 10}
    assert len(mapped["images"]) == 10
    few = map_classes(made(10), {"lorry": "truck", "*": None}, "map.json")
    assert boxes_by_class(few) == {"truck": 2}
    assert Counter(row["category_id"] for row in few["annotations"]) == {9: 2}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"lory": "truck"}, r"no class 'lory' .*did you mean 'lorry'"),
        ({"zebra": None}, r"no class 'zebra' .*there are cat, dog, lorry"),
        ({"cat": 3}, r"map.json: write"),
        ([1], r"map.json: write"),
        ({"*": "thing"}, r"can only be null"),
        ({"*": None}, r"leaves no class"),
    ],
)
def test_a_mapping_that_cannot_be(mapping, message):
    with pytest.raises(DataError, match=message):
        map_classes(made(), mapping, "map.json")


@pytest.mark.parametrize("content", [[], {}, {**made(), "images": [1]}, {**made(), "images": []}])
def test_a_file_that_is_none(content):
    with pytest.raises(DataError, match=r"labels.json: "):
        check_lists(content, "labels.json")
