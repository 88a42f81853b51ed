import itertools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.data.manifest import STATISTICS_FILE
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.input_pipeline.datasets import (
    evaluation_dataset,
    training_dataset,
    training_image_ids,
)
from pix2seq_model.input_pipeline.settings import Augmentation
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary
from tests.fixtures.records import example, smooth_image, write_examples
from tests.fixtures.shared_material import SHARED, needs_shared

VOCABULARY = Vocabulary(vocab_size=1201, num_bins=201)
NUM_EXAMPLES = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of several sizes, colour and grey, JPEG and PNG, with 0 to 10 objects."""
    examples = []
    for number in range(NUM_EXAMPLES):
        pixels = smooth_image(40 + 5 * number, 90 - 4 * number, seed=number)
        edges = np.random.default_rng(number).uniform(0, 0.5, (number, 2))
        examples.append(
            example(
                f"image {number}",
                [((y, x, y + 0.4, x + 0.5), 1 + 2 * (n % 2)) for n, (y, x) in enumerate(edges)],
                pixels=pixels[..., 0] if number % 4 == 1 else pixels,
                image_format="png" if number % 3 == 1 else "jpeg",
            )
        )
    return write_examples(tmp_path_factory.mktemp("examples"), examples, num_shards=3)


def batches(folder, number, *, sequence=None, augmentation=None, **changes):
    arguments = {
        "split": "train",
        "vocabulary": VOCABULARY,
        "image_size": (32, 48),
        "batch_size": 4,
        "seed": 5,
        "shuffle_buffer": 4,
        "augmentation": Augmentation(**(augmentation or {})),
        "sequence": SequenceSettings(**{"max_objects": 6} | (sequence or {})),
    }
    dataset = training_dataset(folder, **arguments | changes)
    return [
        [inputs["image"], inputs["tokens"], target, weights]
        for inputs, target, weights in dataset.take(number).as_numpy_iterator()
    ]


@pytest.fixture(scope="module")
def undisturbed(folder):
    return batches(folder, 10)


def assert_equal(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_shapes_and_ranges(folder, undisturbed):
    dataset = training_dataset(
        folder,
        split="train",
        vocabulary=VOCABULARY,
        image_size=(32, 48),
        batch_size=4,
        seed=5,
        augmentation=Augmentation(),
        sequence=SequenceSettings(max_objects=6),
    )
    inputs, target, weights = dataset.element_spec
    assert inputs["image"] == tf.TensorSpec([4, 32, 48, 3], tf.float32)
    assert inputs["tokens"] == target == tf.TensorSpec([4, 30], tf.int32)
    assert weights == tf.TensorSpec([4, 30], tf.float32)
    for image, tokens, target, weights in undisturbed:
        assert image.min() >= 0
        assert image.max() <= 1
        assert image.std() > 0.1
        assert (tokens[:, 0] == 10).all()
        assert target.max() < VOCABULARY.vocab_size
        assert set(np.unique(weights)) <= {0, 1}


@pytest.mark.parametrize("num_threads", [1, 5])
def test_threads_do_not_matter(folder, undisturbed, num_threads):
    assert_equal(batches(folder, 10, num_parallel_calls=num_threads), undisturbed)


def test_the_global_seed_does_not_matter_and_ours_does(folder, undisturbed):
    tf.random.set_seed(77)
    try:
        assert_equal(batches(folder, 2), undisturbed[:2])
    finally:
        tf.random.set_seed(0)
    assert not np.array_equal(batches(folder, 1, seed=6)[0][1], undisturbed[0][1])


@pytest.mark.parametrize("start_step", [1, 3, 7])
def test_starting_late_gives_the_undisturbed_batches(folder, undisturbed, start_step):
    assert_equal(batches(folder, 3, start_step=start_step), undisturbed[start_step:][:3])


@pytest.mark.parametrize("num_hosts", [2, pytest.param(4, marks=pytest.mark.large)])
def test_hosts_share_the_same_batch(folder, undisturbed, num_hosts):
    whole = undisturbed[:4]
    shares = [batches(folder, 4, num_hosts=num_hosts, host_index=i) for i in range(num_hosts)]
    joined = [
        [np.concatenate(parts) for parts in zip(*step, strict=True)]
        for step in zip(*shares, strict=True)
    ]
    assert_equal(joined, whole)


def test_more_augmentation_is_as_reproducible(folder, undisturbed):
    """Entered late and by two hosts; and what is drawn otherwise stays as it was."""
    looks = {"brightness": 0.3, "hue": 0.1, "grey": 0.3, "blur": 0.5, "cutout": 0.7}
    all_of_it = looks | {"turn": True, "flip_vertical": True}
    late = batches(folder, 1, augmentation=all_of_it, start_step=3)
    shares = [
        batches(folder, 4, augmentation=all_of_it, num_hosts=2, host_index=index)[3]
        for index in range(2)
    ]
    assert_equal([[np.concatenate(parts) for parts in zip(*shares, strict=True)]], late)
    # What an image looks like does not decide which part of it is seen, nor its sequence.
    other = batches(folder, 4, augmentation=looks)[3]
    assert_equal([other[1:]], [undisturbed[3][1:]])
    assert not np.array_equal(other[0], undisturbed[3][0])


def test_turned_boxes_lie_on_their_objects(tmp_path):
    """A white rectangle on black, turned every way in an image that is not square."""
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[10:25, 30:80] = 255
    box = (10 / 60, 30 / 90, 25 / 60, 80 / 90)
    record = example("one", [(box, 1)], pixels=pixels, image_format="png")
    examples = write_examples(tmp_path / "examples", [record], num_shards=1)
    augmentation = {"scale_min": 1.0, "scale_max": 1.0, "turn": True, "flip_vertical": True}
    shapes = set()
    for image, _, target, _ in batches(
        examples, 4, augmentation=augmentation, sequence={"noise_objects": False}
    ):
        for picture, tokens in zip(image, target):
            rows, columns = np.nonzero(picture[..., 0] > 0.5)
            seen = [rows.min() / 32, columns.min() / 48, (rows.max() + 1) / 32]
            seen.append((columns.max() + 1) / 48)
            found = (tokens[:4] - VOCABULARY.coord_shift) / (VOCABULARY.num_bins - 1)
            np.testing.assert_allclose(found, seen, atol=0.03)
            shapes.add(tuple(np.round(found, 1)))
    assert len(shapes) >= 6  # Of the eight.


def test_an_example_does_not_depend_on_the_rest_of_its_batch(folder):
    # Both read all rows from one reader, so that the order is the same.
    rows = [np.concatenate(column) for column in zip(*batches(folder, 9, batch_size=1))]
    other = [np.concatenate(column) for column in zip(*batches(folder, 3, batch_size=3))]
    assert_equal([rows], [other])


def test_images_rounded_to_bytes(folder, undisturbed):
    for rounded, whole in zip(batches(folder, 4, image_dtype="uint8"), undisturbed):
        image, exact = rounded[0], whole[0] * 255
        assert image.dtype == np.uint8
        assert np.abs(image - exact).max() < 0.5001
        assert len(np.unique(image)) > 100
        for ours, theirs in zip(rounded[1:], whole[1:], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_every_pass_shows_an_image_changed_again(folder):
    one_pass = batches(folder, 2, batch_size=NUM_EXAMPLES, augmentation={"flip": True})
    first, second = (sorted(image.sum() for image in batch[0]) for batch in one_pass)
    assert not np.isclose(first, second).any()


@pytest.mark.parametrize(("image_dtype", "grey"), [("float32", np.float32(0.3)), ("uint8", 77)])
def test_without_jitter_the_padding_is_grey_and_the_boxes_are_exact(tmp_path, image_dtype, grey):
    box = (0.25, 0.5, 0.75, 1.0)
    folder = write_examples(
        tmp_path, [example("1", [(box, 3)], pixels=smooth_image(64, 64))], num_shards=1
    )
    ((image, tokens, target, weights),) = batches(
        folder,
        1,
        batch_size=1,
        image_size=(32, 64),
        augmentation={"scale_min": 1.0, "scale_max": 1.0, "flip": False},
        image_dtype=image_dtype,
        sequence={"max_objects": 2, "noise_objects": False, "class_corruption": "none"},
    )
    np.testing.assert_array_equal(image[0, :, 32:], grey)
    assert (image[0, :, :32] != grey).any()
    # The content is the left half: x's halve. 201 bins: a bin is 0.005.
    expected = [1050, 1050, 1150, 1100, 103]
    assert target.tolist() == [expected + [0] * 5]
    assert tokens.tolist() == [[10, *expected, 0, 0, 0, 0]]
    np.testing.assert_allclose(weights, [[1.0] * 5 + [0.1] * 5])


def test_crowd_objects_are_not_trained_on(tmp_path):
    box = (0.0, 0.0, 1.0, 1.0)
    folder = write_examples(
        tmp_path, [example("1", [(box, 1), (box, 3), (box, 7)], crowd=[1])], num_shards=1
    )
    sequence = {"max_objects": 3, "noise_objects": False, "order": "class"}
    ((_, _, target, _),) = batches(folder, 1, batch_size=1, sequence=sequence)
    assert target[0, 4::5].tolist() == [101, 107, 0]


def test_a_random_subset_of_too_many_objects(tmp_path):
    labels = [1, 3, 7] * 40
    objects = [((0.0, 0.0, 1.0, 1.0), label) for label in labels]
    folder = write_examples(tmp_path, [example("1", objects)], num_shards=1)
    seen = {
        tuple(target[0, 4::5].tolist())
        for _, _, target, _ in batches(folder, 5, batch_size=1, sequence={"max_objects": 10})
    }
    assert len(seen) == 5
    assert all(set(classes) <= {101, 103, 107} for classes in seen)


def test_images_without_objects_are_trained_on(tmp_path):
    folder = write_examples(tmp_path, [example("1"), example("22")])
    ((_, _, target, weights),) = batches(folder, 1, batch_size=2)
    assert (target[:, 4::5] == 30).all()
    assert weights.sum() == 2 * 6


@pytest.fixture(scope="module")
def with_empty_images(tmp_path_factory):
    """Twelve images, every third without objects, and one with a crowd alone."""
    box = (0.0, 0.0, 1.0, 1.0)
    examples = [
        example(f"{number}", [(box, 1)] if number % 3 else [], crowd=[0] if number == 4 else [])
        for number in range(12)
    ]
    folder = write_examples(tmp_path_factory.mktemp("examples"), examples)
    counts = {"train": {"empty": 4, "empty_of_shards": [2, 2]}}
    (folder / STATISTICS_FILE).write_text(json.dumps(counts))
    return folder


def test_images_without_annotations_can_be_left_out(with_empty_images):
    where = {"split": "train", "batch_size": 4, "seed": 5, "shuffle_buffer": 8, "drop_empty": True}
    shown = [training_image_ids(with_empty_images, step=step, **where) for step in range(6)]
    # Eight are left, two batches to a pass.
    passes = [shown[step] + shown[step + 1] for step in (0, 2, 4)]
    kept = [str(number) for number in range(12) if number % 3]
    assert [sorted(one, key=int) for one in passes] == [kept] * 3
    # A crowd is not trained on, the others are; and whoever enters late sees what comes then.
    whole = batches(with_empty_images, 6, shuffle_buffer=8, drop_empty=True)
    for ids, (_, _, target, _) in zip(shown, whole, strict=True):
        is_object = {id: (101 in row) for id, row in zip(ids, target.tolist(), strict=True)}
        assert not is_object.pop("4", False)
        # Whatever the crop shows: the one object covers the image.
        assert all(is_object.values())
    late = batches(with_empty_images, 3, shuffle_buffer=8, drop_empty=True, start_step=3)
    assert_equal(late, whole[3:])


def test_images_to_leave_out_must_have_been_counted(with_empty_images, folder, tmp_path):
    with pytest.raises(DataError, match=r"statistics.json .*convert the data set again"):
        batches(folder, 1, drop_empty=True)
    old = shutil.copytree(with_empty_images, tmp_path / "old")
    for counts in ({}, {"empty": 4}, {"empty_of_shards": [2]}, {"empty_of_shards": [2, None]}):
        (old / STATISTICS_FILE).write_text(json.dumps({"train": counts}))
        with pytest.raises(DataError, match=r"drop_empty_images=True .*convert"):
            batches(old, 1, drop_empty=True)
    (old / STATISTICS_FILE).write_text(json.dumps({"train": {"empty_of_shards": [6, 6]}}))
    with pytest.raises(DataError, match="nothing to train on"):
        batches(old, 1, drop_empty=True)


def test_a_batch_that_hosts_cannot_share_is_refused(folder):
    with pytest.raises(ConfigError, match=r"batch_size=4 .* num_hosts=3"):
        batches(folder, 1, num_hosts=3)
    with pytest.raises(ConfigError, match="host_index=2"):
        batches(folder, 1, num_hosts=2, host_index=2)


def test_a_category_without_a_token_is_refused(folder):
    small = Vocabulary(vocab_size=200, num_bins=90, coord_shift=105)
    with pytest.raises(ConfigError, match=r"category ids \[7\]"):
        batches(folder, 1, vocabulary=small)


def evaluated(folder, **changes):
    arguments = {"split": "train", "image_size": (32, 48), "batch_size": 4}
    dataset = evaluation_dataset(folder, **arguments | changes)
    return list(dataset.as_numpy_iterator())


def test_evaluation_shows_every_image_once(folder):
    parts = evaluated(folder)
    assert [len(part["image"]) for part in parts] == [4, 4, 3]
    ids = list(itertools.chain.from_iterable(part["image_id"].tolist() for part in parts))
    assert sorted(ids) == sorted(b"image %d" % n for n in range(NUM_EXAMPLES))
    for part in parts:
        for number, source, content, image in zip(
            part["image_id"], part["source_size"], part["content_size"], part["image"]
        ):
            number = int(number.split()[1])
            assert source.tolist() == [40 + 5 * number, 90 - 4 * number]
            scale = min(32 / source[0], 48 / source[1])
            np.testing.assert_allclose(content, source * scale, atol=0.51)
            np.testing.assert_allclose(image[content[0] :], 0.3, atol=1e-6)
            np.testing.assert_allclose(image[:, content[1] :], 0.3, atol=1e-6)


def test_the_ids_of_a_batch_are_those_of_its_images(folder):
    shown = {}
    for part in evaluated(folder):
        shown |= zip(part["image_id"].tolist(), part["image"])
    plain = {"scale_min": 1.0, "scale_max": 1.0, "flip": False}
    ((images, *_),) = batches(folder, 1, start_step=4, augmentation=plain)
    ids = training_image_ids(folder, split="train", batch_size=4, seed=5, shuffle_buffer=4, step=4)
    for image, image_id in zip(images, ids, strict=True):
        # Resized here without antialias, there with.
        np.testing.assert_allclose(image, shown[image_id.encode()], atol=0.04)


def test_evaluation_does_not_depend_on_the_batch_size(folder):
    one_by_one, at_once = evaluated(folder, batch_size=1), evaluated(folder, batch_size=50)
    assert len(at_once) == 1
    for key, values in at_once[0].items():
        np.testing.assert_array_equal(np.concatenate([p[key] for p in one_by_one]), values)


def test_evaluation_can_start_late(folder):
    whole = np.concatenate([part["image_id"] for part in evaluated(folder)])
    late = np.concatenate([part["image_id"] for part in evaluated(folder, start=5)])
    np.testing.assert_array_equal(late, whole[5:])


def test_evaluation_of_an_unknown_split_is_refused(folder):
    with pytest.raises(DataError, match="no split 'test'"):
        evaluated(folder, split="test")


@needs_shared
@pytest.mark.parametrize("crop", ["anywhere", "diagonal"])
def test_photographs_and_their_boxes_survive_the_augmentation(tmp_path, crop):
    """The colour under a box's centre is the same in the photograph and in the batch."""
    path = next((SHARED / "coco_sample/images/val2017").iterdir())
    pixels = tf.io.decode_jpeg(tf.io.read_file(str(path)), channels=3).numpy()
    height, width = pixels.shape[:2]
    pixels[: height // 4, : width // 2] = (250, 5, 5)
    box = (0.0, 0.0, (height // 4) / height, (width // 2) / width)
    folder = write_examples(
        tmp_path, [example("1", [(box, 1)], pixels=pixels, image_format="png")], num_shards=1
    )
    sequence = {"max_objects": 1, "noise_objects": False}
    seen = 0
    for image, _, target, _ in batches(
        folder,
        12,
        batch_size=1,
        image_size=(96, 96),
        augmentation={"crop": crop},
        sequence=sequence,
    ):
        if target[0, 4] == 0:
            continue
        ymin, xmin, ymax, xmax = (VOCABULARY.dequantize(target[0, :4]) * 96).round().astype(int)
        if min(ymax - ymin, xmax - xmin) < 6:
            continue
        inside = image[0, ymin + 2 : ymax - 2, xmin + 2 : xmax - 2]
        np.testing.assert_allclose(
            inside, np.broadcast_to([250, 5, 5], inside.shape) / 255, atol=0.02
        )
        seen += 1
    assert seen >= 3
