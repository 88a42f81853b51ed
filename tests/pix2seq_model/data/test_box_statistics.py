"""Histograms of boxes: literal counts, and the same from parts as from the whole."""

import numpy as np

from pix2seq_model.data.box_statistics import (
    ASPECT_EDGES,
    GRID,
    SIZE_EDGES,
    BoxStatistics,
    crowded_images,
)

IMAGES = [
    ([(0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)], [3, 3], [900.0, 5000.0], [False, False]),
    ([(0.25, 0.0, 0.75, 1.0)], [7], [20000.0], [False]),
    ([(0.0, 0.0, 1.0, 1.0)], [3], [5.0], [True]),
    ([], [], [], []),
]


def statistics(images):
    result = BoxStatistics()
    for boxes, labels, areas, crowd in images:
        result.add_image(
            height=100, width=200, boxes_yxyx=boxes, labels=labels, areas=areas, is_crowd=crowd
        )
    return result


def test_images_with_more_objects_than_a_sequence_are_counted():
    assert crowded_images({"3": 5, "100": 1}, max_objects=100) == ""
    text = crowded_images({"3": 5, "101": 2, "150": 1}, max_objects=100)
    assert "3 images have more than the 100 objects" in text
    assert "(at most 150), which leaves out 52 boxes" in text
    assert "sequence.max_objects" in text
    assert "100 best detections of an image and category" in text


def test_counts():
    counted = statistics(IMAGES).to_json()
    assert counted["objects_per_image"] == {"0": 2, "1": 1, "2": 1}
    assert counted["classes"] == {"3": 2, "7": 1}
    assert counted["images_with_class"] == {"3": 1, "7": 1}
    assert counted["crowd"] == 1
    assert counted["empty"] == 1  # The one with a crowd alone is not.
    assert counted["areas"] == [1, 1, 1]
    assert sum(counted["sides"]) == 4
    sizes, aspects = np.array(counted["sizes"]), np.array(counted["aspects"])
    # Two boxes of 50 x 100 pixels, one of 50 x 200.
    assert sizes[np.searchsorted(SIZE_EDGES, np.sqrt(5000)) - 1] == 2
    assert sizes[np.searchsorted(SIZE_EDGES, 100) - 1] == 1
    assert aspects[np.searchsorted(ASPECT_EDGES, 2, side="right") - 1] == 2
    assert aspects[np.searchsorted(ASPECT_EDGES, 4, side="right") - 1] == 1
    centers = np.array(counted["centers"]).reshape(GRID, GRID)
    assert centers[4, 4] == centers[12, 12] == centers[8, 8] == 1


def test_parts_add_up_to_the_whole():
    whole = BoxStatistics()
    for part in (IMAGES[:1], IMAGES[1:]):
        whole.add(statistics(part).to_json())
    assert whole.to_json() == statistics(IMAGES).to_json()
    # Of a part that an earlier version counted.
    whole.add({**statistics(IMAGES).to_json(), "empty": None})
    assert whole.to_json()["empty"] is None
