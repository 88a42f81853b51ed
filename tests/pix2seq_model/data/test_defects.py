"""Counts of rows, limits on them, and the table people see."""

import pytest

from pix2seq_model.data.defects import (
    EXPLANATIONS,
    DefectLimits,
    RowCounts,
    counts_table,
    exceeded_limits,
)


def counts(images=(100, 97), annotations=(1000, 980), **dropped):
    def kind(rows_in, written, rules):
        return {"rows_in": rows_in, "written": written, "dropped": rules, "changed": {}}

    return {
        "images": kind(*images, {k: v for k, v in dropped.items() if k.startswith("image")}),
        "annotations": kind(
            *annotations, {k: v for k, v in dropped.items() if not k.startswith("image")}
        ),
    }


def test_counts_add_up():
    total = RowCounts()
    for _ in range(2):
        total.add({"rows_in": 5, "written": 3, "dropped": {"a": 2}, "changed": {"b": 1}})
    assert total.to_json() == {
        "rows_in": 10,
        "written": 6,
        "dropped": {"a": 4},
        "changed": {"b": 2},
    }
    assert total.is_balanced()
    total.rows_in += 1
    assert not total.is_balanced()


@pytest.mark.parametrize(
    ("dropped", "limits", "expected"),
    [
        ({"image_missing": 3}, {}, []),
        ({"image_missing": 6}, {}, ["6 of 100 images dropped (6.00%), the limit is 5.00%"]),
        ({"image_missing": 3, "image_truncated": 3}, {}, ["6 of 100 images dropped"]),
        ({"box_empty": 51}, {}, ["51 of 1000 annotations dropped"]),
        ({"annotation_of_dropped_image": 900, "annotation_fake": 90}, {}, []),
        ({"image_missing": 0}, {"max_dropped_images": 0.0}, []),
        ({"image_missing": 1}, {"max_dropped_images": 0.0}, ["1 of 100 images dropped"]),
        ({"box_empty": 2}, {"max_by_rule": {"box_empty": 0.001}}, ["box_empty: 2 of 1000"]),
    ],
)
def test_limits(dropped, limits, expected):
    sentences = list(exceeded_limits(counts(**dropped), DefectLimits(**limits)))
    assert len(sentences) == len(expected)
    for sentence, start in zip(sentences, expected):
        assert sentence.startswith(start)


def test_table_names_every_rule():
    table = counts_table({"train": counts(image_missing=3, box_empty=20)})
    assert "3 dropped image_missing: no such file" in table
    assert "20 dropped box_empty: the box has no width or no height" in table
    assert EXPLANATIONS["image_missing"] in table
