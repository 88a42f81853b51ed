"""Which images are shown."""

from pix2seq_model.reports.gallery import choose_galleries
from tests.pix2seq_model.metrics.test_analysis import analysed

BOX, OTHER = [0, 0, 10, 10], [100, 100, 10, 10]


def test_an_image_is_shown_once_and_no_more_than_asked():
    analysis = analysed(
        [(1, 1, BOX, 0), (2, 1, BOX, 0), (2, 1, OTHER, 0)],
        [(1, 1, BOX, 0.9), (3, 1, BOX, 0.8), (2, 2, OTHER, 0.3)],
    )
    chosen = choose_galleries(analysis, threshold=0.5, num_pictures=6)
    assert chosen == {"worst": [2], "best": [1], "alarms": [3]}
    few = choose_galleries(analysis, threshold=0.5, num_pictures=2)
    assert sum(len(image_ids) for image_ids in few.values()) == 2
    two = choose_galleries(analysis, threshold=0.5, num_pictures=12)
    shown = [image for image_ids in two.values() for image in image_ids]
    assert sorted(shown) == [1, 2, 3]


def test_a_sample_is_spread_over_what_is_left():
    analysis = analysed([], [])
    galleries = choose_galleries(analysis, threshold=0.5, num_pictures=3)
    assert galleries == {"sample": [1, 2, 3]}
