"""Records: round trips, and the bytes that TensorFlow itself would write."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pix2seq_model.data.example_proto import Example
from pix2seq_model.data.records import ObjectRecord, decode_example, encode_example, parse_example
from pix2seq_model.errors import DataError

BALL = ObjectRecord(
    box_yxyx=(0.25, 0.125, 0.5, 0.75),
    label=3,
    text="Ball ",
    area=17.5,
    is_crowd=True,
    annotation_id=2**40,
    is_fake=True,
)
TENT = ObjectRecord(box_yxyx=(0.0, 0.0, 1.0, 1.0), label=41, text="tent", area=2.0)


def example(objects, **changes):
    fields = {
        "image_encoded": b"\xff\xd8 not really",
        "image_format": "jpeg",
        "height": 30,
        "width": 40,
        "filename": "images/v1/patch0/é.jpg",
        "image_id": "0017",
        "objects": objects,
    }
    return encode_example(**{**fields, **changes})


def test_all_features_come_back():
    read = decode_example(example([BALL, TENT]))
    assert read["image_encoded"] == b"\xff\xd8 not really"
    assert read["image_format"] == "jpeg"
    assert read["image_id"] == "0017"
    assert read["filename"] == "images/v1/patch0/é.jpg"
    assert read["sha256"] == hashlib.sha256(b"\xff\xd8 not really").hexdigest()
    assert (read["height"], read["width"]) == (30, 40)
    np.testing.assert_array_equal(read["boxes"], [[0.25, 0.125, 0.5, 0.75], [0, 0, 1, 1]])
    assert read["labels"].tolist() == [3, 41]
    assert read["texts"] == ["Ball ", "tent"]
    assert read["area"].tolist() == [17.5, 2.0]
    assert read["ids"].tolist() == [2**40, 0]
    assert read["is_crowd"].tolist() == [True, False]
    assert read["is_fake"].tolist() == [True, False]
    assert read["is_reflected"].tolist() == [False, False]


@pytest.mark.parametrize("objects", [[], [TENT], [BALL, TENT, BALL]])
def test_tensorflow_reads_what_numpy_reads(objects):
    serialized = example(objects)
    ours, theirs = decode_example(serialized), parse_example(serialized)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        read = value.numpy()
        if name == "image_encoded":
            assert read == ours[name]
        elif name == "texts":
            assert [t.decode() for t in read] == ours[name]
        elif isinstance(ours[name], str):
            assert read.decode() == ours[name]
        else:
            np.testing.assert_array_equal(read, ours[name])
            if isinstance(ours[name], np.ndarray):
                assert read.dtype == ours[name].dtype
                assert read.shape == ours[name].shape


def test_bytes_are_those_of_tensorflows_own_message():
    serialized = example([BALL, TENT])
    theirs = tf.train.Example.FromString(serialized)
    assert theirs.SerializeToString(deterministic=True) == serialized
    assert len(theirs.features.feature) == 18


def test_writing_does_not_load_tensorflow():
    code = (
        "import sys; from pix2seq_model.data.records import encode_example, decode_example;"
        "import pix2seq_model.data.tfrecord, pix2seq_model.data.manifest;"
        "decode_example(encode_example(image_encoded=b'', image_format='png', height=1, width=1,"
        "filename='', image_id='', objects=[]));"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_format_is_refused():
    with pytest.raises(ValueError, match="'gif'"):
        example([], image_format="gif")


@given(
    st.lists(
        st.builds(
            ObjectRecord,
            box_yxyx=st.tuples(*[st.floats(0, 1, width=32)] * 4),
            label=st.integers(1, 899),
            text=st.text(max_size=8),
            area=st.floats(0, 1e6, width=32),
            is_crowd=st.booleans(),
            annotation_id=st.integers(0, 2**63 - 1),
        ),
        max_size=5,
    )
)
def test_any_objects_round_trip(objects):
    read = decode_example(example(objects))
    assert read["boxes"].shape == (len(objects), 4)
    assert [tuple(box) for box in read["boxes"].tolist()] == [o.box_yxyx for o in objects]
    assert read["texts"] == [o.text for o in objects]
    assert read["ids"].tolist() == [o.annotation_id for o in objects]


@pytest.mark.parametrize(
    "serialized",
    [b"", b"\xff" * 9, b"text", Example().SerializeToString(), example([BALL])[:-40]],
)
def test_what_is_no_example_is_said(serialized):
    with pytest.raises(DataError, match="no example of this schema"):
        decode_example(serialized)
