"""Records with damaged images: what training sees in their place, and where it ends."""

import functools
import json
import types

import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.errors import DataError
from pix2seq_model.input_pipeline.datasets import training_dataset, training_records
from pix2seq_model.input_pipeline.settings import Augmentation
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary
from pix2seq_model.training.damaged_images import DamagedImages
from tests.fixtures.records import encode_image, example, smooth_image, write_examples

ORDER = {"split": "train", "batch_size": 2, "seed": 1, "shuffle_buffer": 8}


@pytest.fixture
def job(tmp_path):
    whole = encode_image(smooth_image(48, 64))
    box = [((0.1, 0.1, 0.8, 0.8), 1)]
    examples = [example(str(number), box, encoded=whole) for number in range(6)]
    examples[2] = example("2", box, encoded=whole[: len(whole) // 2])
    folder = write_examples(tmp_path / "examples", examples)
    messages = []
    batches = functools.partial(
        training_dataset,
        folder,
        **ORDER,
        vocabulary=Vocabulary(),
        image_size=(16, 16),
        augmentation=Augmentation(),
        sequence=SequenceSettings(max_objects=2),
    )
    return types.SimpleNamespace(
        batches=batches,
        records=lambda number: training_records(folder, **ORDER, step=number),
        replicas=types.SimpleNamespace(process_index=0),
        work_dir=tmp_path,
        run=types.SimpleNamespace(settings=types.SimpleNamespace(max_skipped_batches=1)),
        progress=types.SimpleNamespace(message=messages.append),
        messages=messages,
    )


def flat(batches, number):
    return [tf.nest.flatten(batch) for batch, _ in zip(batches, range(number))]


def test_damaged_images_are_skipped_and_named(job, tmp_path):
    seen = flat(DamagedImages(job).batches(0), 7)
    weights = np.concatenate([batch[-1] for batch in seen[:3]])
    assert sorted(weights.any(axis=1)) == [False, True, True, True, True, True]
    (row,) = json.loads((tmp_path / "damaged_images.json").read_text())
    assert row["image_id"] == "2"
    assert "cannot be decoded" in row["damage"]
    assert "--check_pixels" in job.messages[0]
    # Continued from the middle, with what was noted before.
    for ours, theirs in zip(flat(DamagedImages(job).batches(4), 3), seen[4:], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_more_than_the_limit_end_the_run(job):
    job.run.settings.max_skipped_batches = 0
    with pytest.raises(DataError, match="more than max_skipped_batches=0"):
        flat(DamagedImages(job).batches(0), 3)


def test_another_error_passes(job, monkeypatch):
    monkeypatch.setattr(job, "records", lambda number: [])
    with pytest.raises(tf.errors.InvalidArgumentError):
        flat(DamagedImages(job).batches(0), 3)
