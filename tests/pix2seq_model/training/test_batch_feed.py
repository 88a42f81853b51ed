"""The wait for the input is timed, without the way to the devices."""

from pix2seq_model.training.batch_feed import BatchFeed


class _Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_the_wait_for_batches_is_added_up():
    clock, since = _Clock(), []

    def batches():
        for seconds in (2.0, 3.0):
            since.append(feed.waiting_since)
            clock.now += seconds
            yield f"batch after {seconds}"

    def place(batch):
        clock.now += 10.0
        assert feed.waiting_since is None
        return batch.upper()

    feed = BatchFeed(batches(), place=place, clock=clock)
    assert feed.next() == "BATCH AFTER 2.0"
    assert feed.wait_s == 2.0
    assert feed.next() == "BATCH AFTER 3.0"
    assert feed.wait_s == 5.0
    assert since == [0.0, 12.0]
