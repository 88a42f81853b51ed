import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2seq_model.tokens.object_order import order_objects
from pix2seq_model.tokens.settings import ORDERS

# label, box: labels tell the objects apart where they are all different.
BOXES = [
    [0.5, 0.5, 0.9, 0.9],  # area .16, far
    [0.0, 0.1, 0.1, 0.2],  # area .01, nearest
    [0.2, 0.2, 0.8, 0.8],  # area .36
    [0.6, 0.0, 0.7, 0.9],  # area .09
]


def ordered(labels, order, *, boxes=BOXES, kept=None, random=None, max_objects=4):
    number = len(labels)
    kept = [True] * number if kept is None else kept
    random = np.linspace(0, 0.9, number) if random is None else random
    boxes, labels = order_objects(
        tf.constant([boxes], tf.float32),
        tf.constant([labels], tf.int32),
        is_kept_BM=tf.constant([kept]),
        random_BM=tf.constant([random], tf.float32),
        order=order,
        max_objects=max_objects,
    )
    return boxes[0].numpy(), labels[0].numpy().tolist()


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("stored", [5, 6, 7, 8]),
        ("random", [8, 6, 5, 7]),
        ("area", [7, 5, 8, 6]),
        ("distance", [6, 7, 8, 5]),
        ("class", [5, 6, 7, 8]),
    ],
)
def test_orders(order, expected):
    boxes, labels = ordered([5, 6, 7, 8], order, random=[0.5, 0.2, 0.9, 0.1])
    assert labels == expected
    np.testing.assert_allclose(boxes, [BOXES[label - 5] for label in expected])


@pytest.mark.parametrize(
    ("order", "expected_boxes"),
    [("class", [3, 1, 0, 2]), ("class_area", [3, 1, 2, 0]), ("class_distance", [1, 3, 2, 0])],
)
def test_class_comes_before_the_second_key(order, expected_boxes):
    boxes, labels = ordered([9, 2, 9, 2], order, random=[0.1, 0.8, 0.5, 0.2])
    assert labels == [2, 2, 9, 9]
    np.testing.assert_allclose(boxes, [BOXES[index] for index in expected_boxes])


def test_equal_objects_keep_their_stored_order():
    _, labels = ordered([3, 1, 2, 4], "area", boxes=[[0.1, 0.1, 0.2, 0.2]] * 4)
    assert labels == [3, 1, 2, 4]


def test_too_many_objects_keep_the_first_of_the_order():
    assert ordered([5, 6, 7, 8], "area", max_objects=2)[1] == [7, 5]


def test_dropped_objects_leave_no_gap_and_free_slots_are_zero():
    boxes, labels = ordered([5, 6, 7, 8], "stored", kept=[False, True, False, True], max_objects=6)
    assert labels == [6, 8, 0, 0, 0, 0]
    np.testing.assert_allclose(boxes[:2], [BOXES[1], BOXES[3]])
    assert not boxes[2:].any()


def test_no_objects_at_all():
    boxes, labels = order_objects(
        tf.zeros([2, 0, 4]),
        tf.zeros([2, 0], tf.int32),
        is_kept_BM=tf.zeros([2, 0], tf.bool),
        random_BM=tf.zeros([2, 0]),
        order="class_area",
        max_objects=3,
    )
    assert boxes.shape == (2, 3, 4)
    assert not labels.numpy().any()


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_nothing_is_lost_or_invented(data):
    number = data.draw(st.integers(0, 12))
    max_objects = data.draw(st.integers(1, 15))
    order = data.draw(st.sampled_from(ORDERS))
    unit = st.floats(0, 1, width=32, exclude_max=True)
    boxes = np.array([data.draw(st.tuples(*[unit] * 4)) for _ in range(number)]).reshape(-1, 4)
    labels = data.draw(st.lists(st.integers(1, 5), min_size=number, max_size=number))
    kept = data.draw(st.lists(st.booleans(), min_size=number, max_size=number))
    random = data.draw(st.lists(unit, min_size=number, max_size=number))
    given_rows = [(k, *b) for k, b, keep in zip(labels, boxes, kept) if keep]

    new_boxes, new_labels = order_objects(
        tf.constant(boxes[np.newaxis], tf.float32),
        tf.reshape(tf.constant(labels, tf.int32), [1, number]),
        is_kept_BM=tf.reshape(tf.constant(kept, tf.bool), [1, number]),
        random_BM=tf.reshape(tf.constant(random, tf.float32), [1, number]),
        order=order,
        max_objects=max_objects,
    )

    num_objects = min(len(given_rows), max_objects)
    rows = [(k, *b) for k, b in zip(new_labels[0].numpy(), new_boxes[0].numpy())]
    assert all(row == (0, 0, 0, 0, 0) for row in rows[num_objects:])
    remaining = list(given_rows)
    for row in rows[:num_objects]:
        remaining.remove(row)
