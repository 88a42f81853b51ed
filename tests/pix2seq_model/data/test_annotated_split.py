"""An annotation file's truth for a split: matched with the records as the conversion does."""

import json

import pytest

from pix2seq_model.data.annotated_split import with_annotations
from pix2seq_model.data.annotation_file import read_annotation_file
from pix2seq_model.data.ground_truth import read_split_truth
from pix2seq_model.errors import DataError
from tests.fixtures.evaluated_model import CATEGORIES, write_examples
from tests.fixtures.records import example


def annotation_file(folder, images, annotations=(), categories=CATEGORIES):
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 40, "width": 60} for i in images],
        "categories": list(categories),
        "annotations": list(annotations),
    }
    (folder / "a.json").write_text(json.dumps(content))
    return read_annotation_file(folder / "a.json")


BOX = {"image_id": 8, "category_id": 3, "bbox": [-5.0, 0.0, 90.0, 9.0]}


def test_the_annotation_files_truth_takes_the_records_order_and_the_files_annotations(tmp_path):
    truth = read_split_truth(write_examples(tmp_path), "val")
    file = annotation_file(tmp_path, [5, 8, 9, 17, 203], [BOX])
    replaced = with_annotations(truth, file)
    assert [row["id"] for row in replaced.coco["images"]] == [17, 5, 203, 8, 9]
    assert replaced.coco["annotations"] == [{**BOX, "id": 1, "area": 810.0, "iscrowd": 0}]
    assert replaced.image_numbers == truth.image_numbers
    assert replaced.category_numbers == truth.category_numbers


@pytest.mark.parametrize(
    "categories",
    [
        CATEGORIES[1:],
        # Numbered in another way, as by the conversion joined by name.
        [{"id": 2, "name": "cross"}, {"id": 3, "name": "ring"}],
        [{"id": "x", "name": "cross"}],
    ],
)
def test_categories_are_matched_as_the_conversion_does(categories, tmp_path):
    truth = read_split_truth(write_examples(tmp_path), "val")
    cross = next(row["id"] for row in categories if row["name"] == "cross")
    box = {**BOX, "category_id": cross}
    file = annotation_file(tmp_path, [5, 8, 9, 17, 203], [box], categories)
    assert [row["category_id"] for row in with_annotations(truth, file).coco["annotations"]] == [3]


def test_images_whose_ids_are_text_are_matched_by_it(tmp_path):
    truth = read_split_truth(write_examples(tmp_path, (example("b", []), example("a", []))), "val")
    file = annotation_file(tmp_path, ["a", "b"], [{**BOX, "image_id": "a"}])
    replaced = with_annotations(truth, file).coco
    assert replaced["images"] == truth.coco["images"]
    assert replaced["annotations"][0]["image_id"] == truth.image_numbers["a"] == 2


@pytest.mark.parametrize(
    ("images", "categories", "message"),
    [
        ([5, 8, 9], CATEGORIES, r"a\.json: .* lacks 2, while it lists 0 others \(17, 203\)"),
        ([5, 8, 9, 17, 203, 4], CATEGORIES, r"it lacks 0, while it lists 1 others \(4\)"),
        (
            [5, 8, 9, 17, 203],
            [CATEGORIES[0], {"id": 3, "name": "x"}],
            "category 3 is 'x' there and 'cross' in the records",
        ),
        ([5, 8, 9, 17, 203], [{"id": 4, "name": "x"}], "category 4 is 'x' there and None in the"),
    ],
)
def test_an_annotation_file_of_other_images_or_categories_is_refused(
    images, categories, message, tmp_path
):
    truth = read_split_truth(write_examples(tmp_path), "val")
    with pytest.raises(DataError, match=message):
        with_annotations(truth, annotation_file(tmp_path, images, categories=categories))
