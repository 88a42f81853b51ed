"""Batches to measure the loss on."""

import numpy as np
import pytest

from pix2seq_model.input_pipeline.datasets import evaluation_dataset
from pix2seq_model.input_pipeline.validation_batches import validation_dataset
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary

_VOCABULARY = Vocabulary(num_bins=100, coord_shift=120, vocab_size=220)


def _batches(examples, *, batch_size=4, num_images=6, seed=1, **sequence):
    dataset = validation_dataset(
        examples,
        split="train",
        vocabulary=_VOCABULARY,
        image_size=(32, 48),
        batch_size=batch_size,
        num_images=num_images,
        seed=seed,
        sequence=SequenceSettings(max_objects=3, **sequence),
    )
    return list(dataset.as_numpy_iterator())


def _rows(batches):
    """All batches as one, and without what fills up the last."""
    inputs, targets, weights = (
        [np.concatenate(parts) for parts in zip(*groups)]
        for groups in (
            [(b[0]["image"], b[0]["tokens"]) for b in batches],
            [(b[1],) for b in batches],
            [(b[2],) for b in batches],
        )
    )
    rows = weights[0].sum(axis=1) > 0
    return [part[rows] for part in (*inputs, *targets, *weights)]


@pytest.fixture(scope="module")
def batches(examples):
    return _batches(examples)


def test_the_images_are_those_of_the_evaluation(batches, examples):
    dataset = evaluation_dataset(examples, split="train", image_size=(32, 48), batch_size=6)
    expected = next(dataset.as_numpy_iterator())["image"]
    images, *_ = _rows(batches)
    assert np.array_equal(images, expected)


def test_the_last_batch_is_filled_with_what_has_no_weight(batches):
    assert [len(targets) for _, targets, _ in batches] == [4, 4]
    assert batches[1][2][2:].sum() == 0
    assert (batches[1][2][:2].sum(axis=1) > 0).all()


def test_the_same_sequences_each_time_and_for_any_batch_size(batches, examples):
    once = _rows(batches)
    for again in (_batches(examples), _batches(examples, batch_size=3)):
        for one, two in zip(once, _rows(again), strict=True):
            assert np.array_equal(one, two)
    other = _rows(_batches(examples, seed=2))
    assert np.array_equal(once[0], other[0])
    assert not np.array_equal(once[2], other[2])


def test_the_boxes_lie_in_the_resized_image(examples):
    # Records of 48 x 64 in 32 x 48 fill 32 x 43 of it: no coordinate lies in the padding.
    batches = _batches(examples, order="stored", noise_objects=False)
    _, _, targets, _ = _rows(batches)
    objects = targets.reshape(6, 3, 5)
    real = objects[..., 4] > 0
    assert 6 <= real.sum() <= 12
    right = objects[real][:, 3] - _VOCABULARY.coord_shift
    assert right.max() <= np.ceil(42.67 / 48 * (_VOCABULARY.num_bins - 1))
    assert right.max() > 0.6 * _VOCABULARY.num_bins
