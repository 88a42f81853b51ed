"""Categories of several annotation files: ids kept, joined by name, or refused."""

import pytest

from pix2seq_model.data.categories import category_numbers, id_text, merge_categories
from pix2seq_model.errors import DataError


def rows(*pairs):
    return [{"id": number, "name": name, "supercategory": "x"} for number, name in pairs]


@pytest.mark.parametrize(
    ("source", "key"),
    [(3, "3"), (3.0, "3"), ("3", "3"), ("cat", "cat"), (0, "0"), (3.5, ""), (None, ""), (True, "")],
)
def test_id_text(source, key):
    assert id_text(source) == key


def test_ids_with_gaps_stay():
    table = merge_categories({"val": ("v", rows((90, "b"), (1, "a")))})
    assert table.categories == ({"id": 1, "name": "a"}, {"id": 90, "name": "b"})
    assert table.by_source["val"] == {"90": (90, "b"), "1": (1, "a")}


def test_ids_from_zero_are_raised_by_one():
    table = merge_categories({"train": ("t", rows((0, "a"), (4, "b")))})
    assert table.categories == (
        {"id": 1, "name": "a", "source_id": "0"},
        {"id": 5, "name": "b", "source_id": "4"},
    )
    assert table.by_source["train"] == {"0": (1, "a"), "4": (5, "b")}


def test_text_ids_are_numbered_alike_in_every_file():
    table = merge_categories(
        {"val": ("v", rows(("dog", "Dog"))), "train": ("t", rows(("dog", "Dog"), ("ant", "Ant")))}
    )
    assert [category["id"] for category in table.categories] == [1, 2]
    assert table.by_source["train"] == {"ant": (1, "Ant"), "dog": (2, "Dog")}
    assert table.by_source["val"] == {"dog": (2, "Dog")}


def test_ids_that_are_one_number_are_renumbered():
    table = merge_categories({"train": ("t", rows(("1", "a"), ("01", "b"), ("2", "c")))})
    assert [category["id"] for category in table.categories] == [1, 2, 3]
    assert table.by_source["train"] == {"01": (1, "b"), "1": (2, "a"), "2": (3, "c")}


def test_ids_beyond_the_vocabulary_are_numbered_in_their_order():
    files = {
        "train": ("t", rows((2**40, "b"), (-7, "a"), (901, "c"))),
        "val": ("v", rows((901, "c"))),
    }
    table = merge_categories(files, max_id=899)
    assert table.categories == (
        {"id": 1, "name": "a", "source_id": "-7"},
        {"id": 2, "name": "c", "source_id": "901"},
        {"id": 3, "name": "b", "source_id": str(2**40)},
    )
    assert table.by_source["val"] == {"901": (2, "c")}
    assert category_numbers(table.categories) == {1: -7, 2: 901, 3: 2**40}


def test_ids_up_to_the_vocabularys_last_stay():
    table = merge_categories({"train": ("t", rows((899, "a"), (4, "b")))}, max_id=899)
    assert [category["id"] for category in table.categories] == [4, 899]
    raised = merge_categories({"train": ("t", rows((899, "a"), (0, "b")))}, max_id=899)
    assert [category["id"] for category in raised.categories] == [1, 2]


def test_category_numbers_are_the_annotation_files_own():
    assert category_numbers([{"id": 1}, {"id": 9}]) == {1: 1, 9: 9}
    own = [{"id": 1, "source_id": "0"}, {"id": 2, "source_id": "1"}]
    assert category_numbers(own) == {1: 0, 2: 1}
    text = [{"id": 1, "source_id": "cat"}, {"id": 2}]
    assert category_numbers(text) == {1: 1, 2: 2}
    same = [{"id": 1, "source_id": "2"}, {"id": 2}]
    assert category_numbers(same) == {1: 1, 2: 2}
    # The served model has 64 bits for an id.
    assert category_numbers([{"id": 1, "source_id": str(2**63)}]) == {1: 1}


def test_other_numbering_of_the_same_names_is_joined_by_name():
    table = merge_categories(
        {"val": ("v", rows((1, "b"), (2, "a"))), "train": ("t", rows((1, "a"), (2, "b")))}
    )
    assert table.categories == ({"id": 1, "name": "a"}, {"id": 2, "name": "b"})
    assert table.by_source["val"] == {"1": (2, "b"), "2": (1, "a")}


def test_splits_may_each_lack_some():
    table = merge_categories({"train": ("t", rows((1, "a"))), "val": ("v", rows((2, "b")))})
    assert [category["name"] for category in table.categories] == ["a", "b"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train": ("t.json", [])}, "t.json: no categories"),
        ({"train": ("t.json", [{"id": 1}])}, r"t.json: categories\[0\] is"),
        ({"train": ("t.json", [5])}, r"t.json: categories\[0\] is 5"),
        ({"train": ("t.json", rows((1, "a"), (1, "b")))}, "id 1 is both 'a' and 'b'"),
        (
            {"train": ("t.json", rows((1, "a"))), "val": ("v.json", rows((1, "b")))},
            "v.json: category id 1 is 'b', but 'a' in t.json",
        ),
    ],
)
def test_refusals(files, message):
    with pytest.raises(DataError, match=message):
        merge_categories(files)
