"""`onnx.json` says what was written, and a damaged one is named."""

import dataclasses
import hashlib
import json

import pytest

from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder.onnx_folder import CacheArray, OnnxInfo, read_onnx_info
from pix2seq_model.tokens.vocabulary import Vocabulary

INFO = OnnxInfo(
    image_size=(48, 64),
    resize="plain",
    vocabulary=Vocabulary(vocab_size=205, num_bins=100, coord_shift=105),
    categories=({"id": 2, "name": "ring"},),
    decoding={"max_objects": 5, "seed": 3},
    kv_caches=(CacheArray(name="kv_cache_0", shape=(2, 8, 25), batch_axis=0),),
    cross_kv_caches=(CacheArray(name="cross_kv_cache_0", shape=(1, 2, 8, 12), batch_axis=0),),
    graphs={"float32": {"encoder": "encoder.onnx", "decoder_step": "decoder_step.onnx"}},
    sha256={"encoder.onnx": hashlib.sha256(b"a graph").hexdigest()},
    source="a test",
    weights_sha256="0123",
)


def _write(folder, content):
    (folder / "onnx.json").write_text(content)


def test_what_was_written_is_read(tmp_path):
    _write(tmp_path, json.dumps(INFO.as_json()))
    assert read_onnx_info(tmp_path) == INFO


def test_a_graph_of_another_export_is_named(tmp_path):
    graph = tmp_path / "encoder.onnx"
    graph.write_bytes(b"a graph")
    INFO.check_graph(graph)
    graph.write_bytes(b"another")
    with pytest.raises(ModelError, match=r"encoder\.onnx is not the graph that onnx\.json next"):
        INFO.check_graph(graph)
    content = INFO.as_json()
    del content["sha256"]
    content["format_version"] = 1  # As earlier exports are.
    _write(tmp_path, json.dumps(content))
    read_onnx_info(tmp_path).check_graph(graph)


def test_a_cache_grows_with_the_batch():
    assert INFO.kv_caches[0].shape_for(3) == (6, 8, 25)
    stacked = dataclasses.replace(INFO.kv_caches[0], shape=(6, 2, 8, 25), batch_axis=1)
    assert stacked.shape_for(3) == (6, 6, 8, 25)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        (json.dumps({**INFO.as_json(), "format_version": 9}), "format_version 9"),
        (json.dumps({**INFO.as_json(), "vocabulary": {"num_bins": 1}}), "is damaged"),
        (json.dumps({**INFO.as_json(), "sha256": None}), "is damaged"),
        (json.dumps({**INFO.as_json(), "graphs": None}), "is damaged"),
        (json.dumps({**INFO.as_json(), "categories": [1]}), "is damaged"),
        (json.dumps({**INFO.as_json(), "categories": [{"id": "1", "name": "a"}]}), "is damaged"),
        (json.dumps({**INFO.as_json(), "decoding": 5}), "is damaged"),
        (json.dumps({**INFO.as_json(), "graphs": {"float32": {"encoder": "a"}}}), "is damaged"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    _write(tmp_path, content)
    with pytest.raises(ModelError, match=message) as caught:
        read_onnx_info(tmp_path)
    assert str(tmp_path / "onnx.json") in str(caught.value)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"export_onnx\.py"):
        read_onnx_info(tmp_path)
