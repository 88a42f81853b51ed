import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2seq_model.tokens.noise_objects import NOISE_LABEL
from pix2seq_model.tokens.object_order import order_objects
from pix2seq_model.tokens.sequences import (
    build_sequences,
    corrupt_classes,
    num_draws,
    training_sequences,
)
from pix2seq_model.tokens.settings import CLASS_CORRUPTIONS, ORDERS, SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary
from tests.fixtures import reference

VOCABULARY = Vocabulary(vocab_size=1101, num_bins=101, coord_shift=1000)
BOXES = [[[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]]
LABELS = [[7, NOISE_LABEL, 0]]


def test_a_sequence_token_by_token():
    tokens, target, weights = build_sequences(
        tf.constant(BOXES), tf.constant(LABELS), vocabulary=VOCABULARY, padding_weight=0.25
    )
    real, noise = [1010, 1020, 1030, 1040, 107], [1000, 1000, 1100, 1100, 30]
    assert target.numpy().tolist() == [real + noise + [0] * 5]
    assert tokens.numpy().tolist() == [[10, *real, *noise, *[0] * 4]]
    assert weights.numpy().tolist() == [[1.0] * 5 + [0.0] * 4 + [1.0] + [0.25] * 5]
    assert (tokens.dtype, target.dtype, weights.dtype) == (tf.int32, tf.int32, tf.float32)


def test_corrupted_classes_stand_in_the_input_alone():
    tokens, target, _ = build_sequences(
        tf.constant(BOXES),
        tf.constant(LABELS),
        vocabulary=VOCABULARY,
        input_class_BN=tf.constant([[30, 555, 444]]),
    )
    assert tokens.numpy()[0, [5, 10]].tolist() == [30, 555]
    assert tokens.numpy()[0, 11:].tolist() == [0] * 4
    assert target.numpy()[0, [4, 9, 14]].tolist() == [107, 30, 0]


def test_a_given_length_is_filled_with_padding():
    tokens, target, weights = build_sequences(
        tf.constant(BOXES), tf.constant(LABELS), vocabulary=VOCABULARY, length=18
    )
    assert tokens.shape == target.shape == weights.shape == (1, 18)
    assert target.numpy()[0, 15:].tolist() == [0, 0, 0]
    np.testing.assert_allclose(weights.numpy()[0, 15:], 0.1)


@pytest.mark.parametrize("model", ["vit", "resnet"])
def test_the_published_sequences(model):
    golden = reference.arrays(f"{model}/golden")
    tokens, target, weights = build_sequences(
        tf.constant(golden["bbox"]),
        tf.constant(golden["label"]),
        vocabulary=Vocabulary(vocab_size=2100),
        length=golden["input_seq"].shape[1],
    )
    np.testing.assert_array_equal(tokens, golden["input_seq"])
    np.testing.assert_array_equal(target, golden["target_seq"])
    np.testing.assert_array_equal(weights, golden["token_weights"])


@pytest.mark.parametrize("num_bins", [100, 500, 1000, 2000])
def test_the_published_quantisation_on_tensors(num_bins):
    vocabulary = Vocabulary(num_bins=num_bins, vocab_size=1000 + num_bins)
    recorded = reference.arrays("ops/quantize")
    tokens = vocabulary.quantize(tf.constant(recorded["coords"]), xp=tf)
    np.testing.assert_array_equal(tokens - 1000, recorded[f"bins{num_bins}"])
    np.testing.assert_array_equal(
        vocabulary.dequantize(tokens, xp=tf), recorded[f"dequant{num_bins}"]
    )


def shares(corruption, label):
    """How often the input shows the true class, the noise class and another class."""
    labels = tf.fill([400, 50], label)
    tokens = corrupt_classes(
        labels,
        draws_BN3=tf.random.stateless_uniform([400, 50, 3], seed=[3, 4]),
        corruption=corruption,
        vocabulary=VOCABULARY,
    ).numpy()
    true_token = label + 100
    others = tokens[(tokens != true_token) & (tokens != 30)]
    if others.size:
        assert others.min() >= 100
        assert others.max() <= 999
        assert len(np.unique(others)) > 800
    return np.mean(tokens == true_token), np.mean(tokens == 30), others.size / tokens.size


@pytest.mark.parametrize(
    ("corruption", "expected"),
    [
        ("none", (1, 0, 0)),
        ("rand_cls", (0, 0, 1)),
        ("real_n_fake_cls", (0.5, 0.5, 0)),
        ("rand_n_fake_cls", (0, 0.5, 0.5)),
        ("real_n_rand_n_fake_cls", (0.5, 0.25, 0.25)),
    ],
)
def test_class_corruptions(corruption, expected):
    np.testing.assert_allclose(shares(corruption, 7), expected, atol=0.015)


def test_noise_objects_are_corrupted_like_real_ones():
    true_or_noise, _, random = shares("rand_n_fake_cls", NOISE_LABEL)
    np.testing.assert_allclose([true_or_noise, random], [0.5, 0.5], atol=0.015)


# Any mixture of images: empty, over-full, with boxes that touch the border.
edge = st.sampled_from([0.0, 1.0]) | st.floats(0, 1, width=32)
box = st.tuples(edge, edge, edge, edge).map(
    lambda e: (min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]), max(e[1], e[3]))
)
image = st.lists(st.tuples(box, st.integers(1, 899)), max_size=130)


@settings(deadline=None, max_examples=40)
@given(
    images=st.lists(image, min_size=1, max_size=3),
    order=st.sampled_from(ORDERS),
    corruption=st.sampled_from(CLASS_CORRUPTIONS),
    noise_objects=st.booleans(),
    num_bins=st.integers(10, 2000),
    max_objects=st.sampled_from([1, 8, 100]),
    seed=st.integers(0, 1000),
)
def test_properties_of_any_batch(
    images, order, corruption, noise_objects, num_bins, max_objects, seed
):
    vocabulary = Vocabulary(vocab_size=1000 + num_bins, num_bins=num_bins)
    sequence = SequenceSettings(
        max_objects=max_objects,
        order=order,
        class_corruption=corruption,
        noise_objects=noise_objects,
    )
    most = max(map(len, images))
    boxes = np.zeros((len(images), most, 4), np.float32)
    labels = np.zeros((len(images), most), np.int32)
    for row, objects in enumerate(images):
        for column, (one_box, label) in enumerate(objects):
            boxes[row, column], labels[row, column] = one_box, label
    ordered_boxes, ordered_labels = order_objects(
        tf.constant(boxes),
        tf.constant(labels),
        is_kept_BM=tf.constant(labels > 0),
        random_BM=tf.random.stateless_uniform(labels.shape, seed=[seed, 0]),
        order=order,
        max_objects=max_objects,
    )
    tokens, target, weights = training_sequences(
        ordered_boxes,
        ordered_labels,
        content_fraction_B2=tf.ones([len(images), 2]),
        draws_BD=tf.random.stateless_uniform([len(images), num_draws(sequence)], seed=[seed, 1]),
        vocabulary=vocabulary,
        settings=sequence,
    )

    objects = target.numpy().reshape(len(images), max_objects, 5)
    weights = weights.numpy().reshape(objects.shape)
    input_objects = np.concatenate([tokens[:, 1:], np.zeros((len(images), 1))], 1)
    input_objects = input_objects.reshape(objects.shape)
    assert (tokens.numpy()[:, 0] == 10).all()
    for row, one_image in enumerate(images):
        num_real = min(len(one_image), max_objects)
        real, rest = objects[row, :num_real], objects[row, num_real:]
        assert (weights[row, :num_real] == 1).all()
        # Boxes to tokens to boxes: within half a bin; classes exactly.
        back = vocabulary.dequantize(real[:, :4])
        half_a_bin = 0.5 / (num_bins - 1) + 1e-6
        np.testing.assert_allclose(back, ordered_boxes[row, :num_real], rtol=0, atol=half_a_bin)
        np.testing.assert_array_equal(real[:, 4] - 100, ordered_labels[row, :num_real])
        if noise_objects:
            assert (rest[:, 4] == 30).all()
            assert (rest[:, :4] >= 1000).all()
            assert (weights[row, num_real:, :4] == 0).all()  # noise never weighs on coordinates
            assert (weights[row, num_real:, 4] == 1).all()
        else:
            assert not rest.any()
            np.testing.assert_allclose(weights[row, num_real:], sequence.padding_weight)
    # Input and target differ in classes and, by the shift, in the very last token.
    np.testing.assert_array_equal(input_objects[..., :4], objects[..., :4])
    assert (tokens.numpy() < vocabulary.vocab_size).all()


def test_boxes_are_scaled_to_the_padded_image_and_noise_stays_out_of_the_padding():
    sequence = SequenceSettings(max_objects=50, class_corruption="none")
    vocabulary = Vocabulary(vocab_size=2001, num_bins=1001)
    boxes = np.zeros((1, 50, 4), np.float32)
    boxes[0, 0] = [0.0, 0.5, 1.0, 1.0]
    _, target, _ = training_sequences(
        tf.constant(boxes),
        tf.constant([[5] + [0] * 49]),
        content_fraction_B2=tf.constant([[0.5, 0.8]]),
        draws_BD=tf.random.stateless_uniform([1, num_draws(sequence)], seed=[1, 2]),
        vocabulary=vocabulary,
        settings=sequence,
    )
    objects = target.numpy().reshape(50, 5) - 1000
    assert objects[0, :4].tolist() == [0, 400, 500, 800]
    assert objects[:, [0, 2]].max() == 500
    assert objects[:, [1, 3]].max() == 800
