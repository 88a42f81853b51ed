"""Which images are shown."""

from pix2seq_model.reports.gallery import choose_galleries
from tests.pix2seq_model.metrics.test_analysis import analysed

BOX, OTHER = [0, 0, 10, 10], [100, 100, 10, 10]


def test_an_image_is_shown_once_and_no_more_than_asked():
    analysis = analysed(
        [(1, 1, BOX, 0), (2, 1, BOX, 0), (2, 1, OTHER, 0)],
        [(1, 1, BOX, 0.9), (3, 1, BOX, 0.8), (2, 2, OTHER, 0.3)],
    )
    galleries = choose_galleries(analysis, threshold=0.5, num_pictures=6)
    chosen = {gallery.key: gallery.image_ids for gallery in galleries}
    assert chosen == {"worst": (2,), "best": (1,), "alarms": (3,)}
    few = choose_galleries(analysis, threshold=0.5, num_pictures=2)
    assert sum(len(gallery.image_ids) for gallery in few) == 2
    two = choose_galleries(analysis, threshold=0.5, num_pictures=12)
    shown = [image for gallery in two for image in gallery.image_ids]
    assert sorted(shown) == [1, 2, 3]


def test_a_sample_is_spread_over_what_is_left():
    analysis = analysed([], [])
    galleries = choose_galleries(analysis, threshold=0.5, num_pictures=3)
    assert [(gallery.key, gallery.image_ids) for gallery in galleries] == [("sample", (1, 2, 3))]
