import pytest
import tensorflow as tf

from pix2seq_model.data.damage import find_damage, reading_errors_named
from pix2seq_model.data.records import encode_example
from pix2seq_model.errors import DataError
from pix2seq_model.input_pipeline.datasets import evaluation_dataset, training_dataset
from pix2seq_model.input_pipeline.settings import Augmentation
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary
from tests.fixtures.records import encode_image, example, smooth_image, write_examples


def folder_with(tmp_path, record):
    """Five examples in two shards; the given one is the second of the second shard."""
    examples = [example(str(number)) for number in range(5)]
    examples[3] = record
    return write_examples(tmp_path / "examples", examples)


def record_of(encoded, *, height=48, width=64):
    return encode_example(
        image_encoded=encoded,
        image_format="jpeg",
        height=height,
        width=width,
        filename="street.jpg",
        image_id="4711",
        objects=[],
    )


def flip_a_bit(folder):
    path = folder / "Split-train/examples-00001-of-00002.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def read_for_training(folder):
    dataset = training_dataset(
        folder,
        split="train",
        vocabulary=Vocabulary(),
        image_size=(16, 16),
        batch_size=5,
        seed=0,
        augmentation=Augmentation(),
        sequence=SequenceSettings(max_objects=2),
    )
    next(iter(dataset))


def read_for_evaluation(folder):
    for _ in evaluation_dataset(folder, split="train", image_size=(16, 16), batch_size=2):
        pass


@pytest.mark.parametrize("read", [read_for_training, read_for_evaluation])
def test_a_damaged_shard_is_named(tmp_path, read):
    folder = folder_with(tmp_path, example("3"))
    flip_a_bit(folder)
    with (
        pytest.raises(DataError, match=r"examples-00001-of-00002.tfrecord: damaged at byte \d+"),
        reading_errors_named(folder, "train"),
    ):
        read(folder)


@pytest.mark.parametrize("read", [read_for_training, read_for_evaluation])
def test_a_shard_that_is_gone_is_named(tmp_path, read):
    folder = folder_with(tmp_path, example("3"))
    (gone,) = folder.glob("**/*00001-of-00002.tfrecord")
    gone.unlink()
    with (
        pytest.raises(DataError, match=f"{gone}.* (not there|missing|gone)"),
        reading_errors_named(folder, "train"),
    ):
        read(folder)


@pytest.mark.parametrize("read", [read_for_training, read_for_evaluation])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path, read):
    encoded = encode_image(smooth_image(48, 64))
    folder = folder_with(tmp_path, record_of(encoded[: len(encoded) // 2]))
    message = (
        r"00001-of-00002.tfrecord, record 1: image 4711 \(street.jpg\) cannot be decoded.*--check_"
    )
    with pytest.raises(DataError, match=message), reading_errors_named(folder, "train"):
        read(folder)


def test_a_record_of_another_schema_is_named(tmp_path):
    folder = folder_with(tmp_path, tf.train.Example().SerializeToString())
    with (
        pytest.raises(DataError, match=r"record 1: no example of this schema"),
        reading_errors_named(folder, "train"),
    ):
        read_for_training(folder)


def test_a_wrong_size_is_found(tmp_path):
    folder = folder_with(tmp_path, record_of(encode_image(smooth_image(20, 30))))
    assert "image 4711 (street.jpg) has (20, 30) rows and columns, the record says (48, 64)" in (
        find_damage(folder, "train")
    )


def test_sound_records_have_no_damage(tmp_path):
    assert find_damage(folder_with(tmp_path, example("3")), "train") is None


def test_other_errors_pass(tmp_path):
    folder = folder_with(tmp_path, example("3"))
    with pytest.raises(tf.errors.InvalidArgumentError), reading_errors_named(folder, "train"):
        tf.reshape(tf.zeros([3]), [2])
    with pytest.raises(ZeroDivisionError), reading_errors_named(folder, "train"):
        raise ZeroDivisionError
