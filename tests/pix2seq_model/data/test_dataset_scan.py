"""The counts of annotation files, on small ones."""

import gzip
import io
import json
from collections import Counter

import pytest

from pix2seq_model.data import dataset_scan
from pix2seq_model.data.dataset_scan import SplitScan, quantile, scan_dataset
from pix2seq_model.errors import DataError
from pix2seq_model.progress import LiveLine

CATEGORIES = [{"id": 0, "name": "cat"}, {"id": 7, "name": "dog"}]


def box(image, bbox, category=0, **fields):
    return {"image_id": image, "category_id": category, "bbox": bbox, **fields}


def image(number, name="", **fields):
    return {"id": number, "file_name": name or f"{number}.jpg", **fields}


def write(path, images, annotations, categories=CATEGORIES):
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return str(path)


def test_counts_are_those_of_the_conversion_s_rules(tmp_path):
    size = {"width": 200, "height": 100}
    images = [image(1, **size), image(2, **size), image("x", width=0, height=0), image(3, **size)]
    images += [image(1, **size), image(3, "other.jpg"), {"id": 9}]
    boxes = [
        box(1, [10, 10, 20, 80]),
        # Half of it is outside: 20 x 80 pixels are left.
        box(1, [180, 10, 40, 80], category=7),
        box("x", [5, 5, 3000, 10]),
        box(2, [0, 0, 200, 100], iscrowd=1),
        box(1, [0, 0, 0, 5]),
        box(1, [300, 0, 5, 5]),
        box(1, [0, 0, 5]),
        box(1, [0, 0, 5, 5], category=8),
        box(3, [0, 0, 5, 5]),
        box(9, [0, 0, 5, 5]),
        box(4, [0, 0, 5, 5]),
        box(1, [0, 0, 5, 5], isfake=1),
    ]
    path = write(tmp_path / "a.json", images, boxes)
    scan = scan_dataset({"train": path}, max_category_id=899, drop_fake=True)
    # Ids that begin at 0 are raised.
    assert [(row["id"], row["name"]) for row in scan.categories] == [(1, "cat"), (8, "dog")]
    assert scan.max_category_id == 8
    assert scan.splits["train"] == SplitScan(
        images=3,
        objects=3,
        crowds=1,
        set_aside={
            "image_duplicate_id": 3,
            "image_row_invalid": 1,
            "box_empty": 1,
            "box_outside": 1,
            "annotation_row_invalid": 1,
            "category_unknown": 1,
            "annotation_of_dropped_image": 2,
            "annotation_without_image": 1,
            "annotation_fake": 1,
        },
        objects_per_image=Counter({2: 1, 0: 1, 1: 1}),
        classes=Counter({1: 2, 8: 1}),
        # The root of 20 x 80 is 40 pixels, a fifth of 200.
        sizes=Counter({200: 2}),
        sides=Counter({200: 2}),
    )
    kept = json.loads(json.dumps(scan.to_json()))
    assert kept["splits"]["train"]["objects_per_image"] == {"0": 1, "1": 1, "2": 1}


def test_splits_share_categories_and_high_ids_are_numbered(tmp_path):
    files = {
        name: write(
            tmp_path / f"{name}.json",
            [image(1, width=10, height=10)],
            [box(1, [1, 1, 2, 2], category=number)],
            [{"id": number, "name": name}],
        )
        for name, number in (("train", 10**12), ("val", 5))
    }
    scan = scan_dataset(files, max_category_id=899)
    assert [row["id"] for row in scan.categories] == [1, 2]
    assert scan.splits["train"].classes == Counter({2: 1})
    assert scan.splits["val"].classes == Counter({1: 1})


def test_a_packed_file_and_its_progress(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_scan, "_ROWS_BETWEEN_LINES", 2)
    path = write(tmp_path / "a.json", [image(n) for n in range(5)], [box(1, [1, 1, 2, 2])])
    packed = tmp_path / "a.json.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.json").read_bytes()))
    said = io.StringIO()
    scan = scan_dataset({"train": str(packed)}, max_category_id=899, output=LiveLine(said))
    assert scan.splits == scan_dataset({"train": path}, max_category_id=899).splits
    assert said.getvalue().splitlines() == [f"{packed}: {n} images read" for n in (2, 4)]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("[1]", "COCO's format"), ('{"images": []}', "'categories'")],
)
def test_what_is_no_annotation_file(content, message, tmp_path):
    path = tmp_path / "a.json"
    if content:
        path.write_text(content)
    with pytest.raises(DataError, match=message) as raised:
        scan_dataset({"train": str(path)}, max_category_id=899)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.51, 3), (1.0, 9), (0.0, 1)])
def test_quantiles(share, expected):
    assert quantile({3: 1, 1: 1, 9: 1, 2: 1}, share) == expected


def test_of_nothing_there_is_no_quantile():
    with pytest.raises(ValueError, match="nothing"):
        quantile({}, 0.5)
