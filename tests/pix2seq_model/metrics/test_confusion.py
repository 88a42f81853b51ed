"""The confusion matrix, counted by hand."""

from pix2seq_model.metrics.confusion import confusion_matrix
from tests.pix2seq_model.metrics.test_matching import matched

BOX, OTHER = [0, 0, 10, 10], [100, 100, 10, 10]


def test_right_confused_missed_and_invented():
    result = confusion_matrix(
        matched(
            [(1, 1, BOX, 0), (1, 2, OTHER, 0), (2, 1, BOX, 0), (3, 1, BOX, 1)],
            [
                (1, 1, BOX, 0.9),
                (1, 1, OTHER, 0.8),
                (2, 2, OTHER, 0.7),
                (3, 1, [2, 2, 5, 5], 0.9),
                (2, 1, BOX, 0.1),
            ],
        ),
        threshold=0.5,
    )
    # Rows: truly a, truly b, nothing there; columns: detected as a, as b, not found.
    assert result.counts.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert result.largest(5) == [(2, 1, 1)]


def test_of_equal_overlaps_the_same_class_is_paired():
    result = confusion_matrix(
        matched([(1, 1, BOX, 0)], [(1, 2, BOX, 0.9), (1, 1, BOX, 0.6)]), threshold=0.0
    )
    assert result.counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_nothing():
    result = confusion_matrix(matched([], []), threshold=0.0)
    assert result.counts.sum() == 0
    assert result.largest(3) == []
