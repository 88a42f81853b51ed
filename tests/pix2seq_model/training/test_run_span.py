"""Which batches a run trains on, and what is due after them."""

from pix2seq_model.training.run_span import RunSpan


def _span(*, first_batch=3):
    return RunSpan(steps=5, batches_per_step=2, batch_size=4, first_batch=first_batch)


def test_the_batches_that_are_left():
    assert list(_span()) == [4, 5, 6, 7, 8, 9, 10]
    assert list(_span(first_batch=10)) == []


def test_steps_take_several_batches():
    assert [_span().step(batch) for batch in (3, 4, 10)] == [1, 2, 5]


def test_what_is_due_every_few_steps_is_due_at_the_end_too():
    assert [batch for batch in range(1, 11) if _span().is_due(batch, 2)] == [4, 8, 10]
    assert [batch for batch in range(1, 11) if _span().is_last(batch)] == [10]
