"""From annotation rows to objects: each rule, and what no rule touches."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix2seq_model.data.annotations import parse_annotation_row
from pix2seq_model.data.defects import CHANGED_ANNOTATIONS, DROPPED_ANNOTATIONS
from pix2seq_model.data.label_rules import apply_label_rules

CATEGORIES = {"2": (2, "ring"), "9": (10, "box")}


def row(ordinal=0, **changes):
    raw = {"id": 50 + ordinal, "image_id": 7, "category_id": 2, "bbox": [10, 20, 30, 40]}
    return parse_annotation_row({**raw, "area": 5.0, **changes}, ordinal)


def apply(*rows, seed=0, **options):
    return apply_label_rules(
        rows, image_id="7", height=100, width=200, categories=CATEGORIES, seed=seed, **options
    )


def test_a_good_row():
    objects, defects = apply(row(category_id=9, iscrowd=1, isfake=1, isreflected=1))
    assert not defects
    (thing,) = objects
    assert thing.box_yxyx == (0.2, 0.05, 0.6, 0.2)
    assert (thing.label, thing.text, thing.area) == (10, "box", 5.0)
    assert thing.annotation_id == 50
    assert thing.is_crowd
    assert thing.is_fake
    assert thing.is_reflected


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"bbox": [1, 2]}, "annotation_row_invalid"),
        ({"category_id": 3}, "category_unknown"),
        ({"bbox": [math.nan, 20, 30, 40]}, "box_not_finite"),
        ({"bbox": [10, 20, math.inf, 40]}, "box_not_finite"),
        ({"bbox": [10, 20, 30, None]}, "box_not_finite"),
        ({"bbox": [10, 20, 0, 40]}, "box_empty"),
        ({"bbox": [10, 20, 30, -1]}, "box_empty"),
        ({"bbox": [100, 20, 1e-199, 40]}, "box_empty"),
        ({"bbox": [200, 20, 30, 40]}, "box_outside"),
        ({"bbox": [10, -40, 30, 40]}, "box_outside"),
    ],
)
def test_dropped(change, rule):
    objects, defects = apply(row(), row(1, **change))
    assert len(objects) == 1
    assert [(d.rule, d.image, d.annotation) for d in defects] == [(rule, "7", "51")]


def test_clipped():
    objects, (defect,) = apply(row(bbox=[-10, 90, 30, 40]))
    assert objects[0].box_yxyx == (0.9, 0.0, 1.0, 0.1)
    assert objects[0].area == 5.0
    assert (defect.rule, defect.bbox) == ("box_clipped", [-10, 90, 30, 40])
    assert "200 x 100" in defect.detail


def test_rounding_over_the_edge_is_not_worth_a_word():
    objects, defects = apply(row(bbox=[0, 0, 200.005, 100]))
    assert objects[0].box_yxyx == (0, 0, 1, 1)
    assert not defects


@pytest.mark.parametrize("area", [None, 0, -3, math.nan, "big"])
def test_area_from_the_box(area):
    objects, defects = apply(row(area=area))
    assert objects[0].area == 1200
    assert [d.rule for d in defects] == ["area_from_box"]


def test_exact_duplicates_keep_the_first_of_the_file():
    objects, defects = apply(row(2), row(0), row(1, category_id=9), row(3, iscrowd=1))
    assert sorted(o.annotation_id for o in objects) == [50, 51, 53]
    assert [(d.rule, d.annotation, d.detail) for d in defects] == [
        ("annotation_duplicate", "52", "the same as annotation 50")
    ]


def test_fake_and_reflected_are_dropped_on_request():
    rows = row(0, isfake=1), row(1, bbox=[0, 0, 5, 5], isreflected=1), row(2, bbox=[0, 0, 6, 6])
    assert len(apply(*rows)[0]) == 3
    objects, defects = apply(*rows, drop_fake=True)
    assert len(objects) == 2
    assert [d.rule for d in defects] == ["annotation_fake"]
    objects, defects = apply(*rows, drop_fake=True, drop_reflected=True)
    assert [o.annotation_id for o in objects] == [52]


def test_order_is_shuffled_by_seed_and_not_by_the_order_of_arrival():
    rows = [row(i, bbox=[i, i, 5, 5]) for i in range(12)]
    first = [o.annotation_id for o in apply(*rows)[0]]
    assert first == [o.annotation_id for o in apply(*reversed(rows))[0]]
    assert first != sorted(first)
    assert first != [o.annotation_id for o in apply(*rows, seed=1)[0]]
    assert sorted(first) == list(range(50, 62))


def test_text_ids_become_numbers():
    objects, _ = apply(row(id="a-7"), row(1, id="b", bbox=[1, 1, 1, 1]))
    numbers = {o.annotation_id for o in objects}
    assert len(numbers) == 2
    assert all(0 <= number < 2**63 for number in numbers)


NUMBERS = st.floats(-300, 300) | st.sampled_from([0, math.nan, math.inf, 100, 200])


@given(st.lists(st.lists(NUMBERS, min_size=4, max_size=4), max_size=8))
def test_every_row_is_kept_or_dropped_once_and_boxes_lie_inside(boxes):
    rows = [row(i, bbox=box, category_id=2 if i % 3 else 4) for i, box in enumerate(boxes)]
    objects, defects = apply(*rows)
    dropped = [d.annotation for d in defects if d.rule in DROPPED_ANNOTATIONS]
    changed = {d.annotation for d in defects if d.rule in CHANGED_ANNOTATIONS}
    kept = {str(o.annotation_id) for o in objects}
    assert sorted([*dropped, *kept]) == sorted(r.annotation_id for r in rows)
    assert changed <= kept
    for thing in objects:
        ymin, xmin, ymax, xmax = thing.box_yxyx
        assert 0 <= ymin < ymax <= 1
        assert 0 <= xmin < xmax <= 1
