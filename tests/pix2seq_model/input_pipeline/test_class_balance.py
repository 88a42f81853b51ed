"""Repeat factors, and how often images come by them."""

import collections
import json
import math

import numpy as np
import pytest

from pix2seq_model.data.records import decode_example
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.input_pipeline.class_balance import (
    class_repeat_factors,
    image_repeat_factors,
)
from pix2seq_model.input_pipeline.record_stream import training_stream
from tests.fixtures.records import deal, encode_image, example, write_shards

_ENCODED = encode_image(np.zeros((8, 8, 3), np.uint8), "png")
_BOX = (0.1, 0.1, 0.5, 0.5)
_NUM_IMAGES, _EVERY = 256, 32
_THRESHOLD = 0.5  # Of class 2: sqrt(0.5 * 32) = 4.


def _is_rare(number):
    """One of 32, and as many in each shard that they are dealt to."""
    return number % _EVERY == number // _EVERY % 4


def test_the_factors_are_those_of_the_formula():
    factors = class_repeat_factors({"1": 1000, "2": 10, "9": 1}, num_images=1000, threshold=0.04)
    assert factors == {2: 2.0, 9: pytest.approx(math.sqrt(40))}
    assert class_repeat_factors({"3": 0}, num_images=10, threshold=0.5) == {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """256 images of class 1, eight of which have one of class 2 as well; four shards."""
    records = [
        example(f"{n}", [(_BOX, 1)] + [(_BOX, 2)] * _is_rare(n), encoded=_ENCODED)
        for n in range(_NUM_IMAGES)
    ]
    root = tmp_path_factory.mktemp("rare")
    categories = [{"id": 1, "name": "common"}, {"id": 2, "name": "rare"}]
    write_shards(root, {"train": deal(records, 4)}, categories=categories)
    counts = {"1": _NUM_IMAGES, "2": _NUM_IMAGES // _EVERY}
    (root / "statistics.json").write_text(json.dumps({"train": {"images_with_class": counts}}))
    return root


def _read(folder, number, **changes):
    settings = {
        "split": "train",
        "seed": 11,
        "batch_size": 8,
        "shuffle_buffer": 256,
        "repeat_threshold": _THRESHOLD,
        **changes,
    }
    stream = training_stream(folder, **settings).take(number)
    return [(int(position), record) for position, record in stream.as_numpy_iterator()]


def test_an_image_has_the_factor_of_its_rarest_class(folder):
    records = [record for _, record in _read(folder, 64, repeat_threshold=0.0)]
    factors = image_repeat_factors(records, {2: 4.0, 3: 9.0}).numpy()
    rare = [2 in decode_example(record)["labels"] for record in records]
    assert factors.tolist() == [4.0 if is_rare else 1.0 for is_rare in rare]
    assert any(rare)
    crowd = example("c", [(_BOX, 2)], encoded=_ENCODED, crowd=[0])
    assert image_repeat_factors([crowd], {2: 4.0}).numpy().tolist() == [1.0]


def test_rare_images_come_as_often_as_their_factor_says(folder):
    passes = 12
    rows = _read(folder, passes * _NUM_IMAGES)
    assert [position for position, _ in rows] == list(range(passes * _NUM_IMAGES))
    shown = collections.Counter(decode_example(record)["image_id"] for _, record in rows)
    assert len(shown) == _NUM_IMAGES  # None is left out for good.
    rare = sum(count for name, count in shown.items() if _is_rare(int(name)))
    # Of 248 + 8 * 4 parts, 32.
    assert rare / len(rows) == pytest.approx(32 / 280, rel=0.08)
    plain = _read(folder, passes * _NUM_IMAGES, repeat_threshold=0.0)
    before = sum(2 in decode_example(record)["labels"] for _, record in plain)
    assert before / len(plain) == 1 / _EVERY


def test_the_stream_stays_what_it_is(folder):
    """Entered at any batch, and by any number of hosts."""
    whole = _read(folder, 60 * 8)
    for first in (3, 31, 40):  # The first pass ends after batch 32.
        assert _read(folder, 80, first_batch=first) == whole[8 * first :][:80]
    for num_hosts in (2, 4, 8):
        size = 8 // num_hosts
        for index in (0, num_hosts - 1):
            share = _read(folder, 40 * size, num_hosts=num_hosts, host_index=index)
            assert share == [row for row in whole[: 40 * 8] if row[0] % 8 // size == index]


def test_windows_too_small_to_choose_from_are_refused(folder):
    with pytest.raises(ConfigError, match=r"shuffle_buffer=64 leaves 8 .* at least 128"):
        _read(folder, 1, shuffle_buffer=64)


def test_images_that_nobody_counted_are_refused(folder, tmp_path):
    write_shards(tmp_path, {"train": deal([example("1", [(_BOX, 1)], encoded=_ENCODED)], 1)})
    (tmp_path / "statistics.json").write_text('{"train": {}}')
    with pytest.raises(DataError, match="convert the data set again"):
        _read(tmp_path, 1)
