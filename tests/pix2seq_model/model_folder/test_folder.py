import dataclasses
import errno
import json

import h5py
import numpy as np
import pytest
from etils import epath

from pix2seq_model.atomic_write import write_json
from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder import folder
from pix2seq_model.model_folder.folder import (
    MODEL_FILE,
    WEIGHTS_FILE,
    ModelInfo,
    load_model_folder,
    load_weights,
    read_model_info,
    save_model_folder,
)
from tests.fixtures.pipes import named_pipe
from tests.fixtures.tiny_config import VOCABULARY
from tests.fixtures.tiny_model import CONFIG, network

INFO = ModelInfo(
    model=CONFIG,
    vocabulary=VOCABULARY,
    categories=({"id": 2, "name": "square"},),
    max_objects=4,
    source="test",
)


def _set_version(folder, version):
    path = folder / MODEL_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": version}))


def _equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def test_what_is_saved_is_loaded(tmp_path):
    model = network(seed=3)
    written = save_model_folder(tmp_path, model, info=INFO)
    assert len(written.weights_sha256) == 64
    loaded, info = load_model_folder(tmp_path)
    assert info == written
    assert _equal(loaded, model)


def test_a_folder_of_format_1_is_loaded_by_its_old_names(tmp_path):
    model = network(seed=3)
    save_model_folder(tmp_path, model, info=INFO)
    with h5py.File(tmp_path / WEIGHTS_FILE, "r+") as weights:
        names = []
        weights.visit(names.append)
        projections = [name for name in names if name.endswith("/output_projection")]
        assert len(projections) == 2 + 2 * 2  # of two encoder and two decoder layers
        for name in projections:
            weights.move(name, name.replace("output_projection", "merge"))
    _set_version(tmp_path, 1)
    assert _equal(load_model_folder(tmp_path)[0], model)


def test_a_folder_of_an_unknown_format_is_refused(tmp_path):
    save_model_folder(tmp_path, network(), info=INFO)
    _set_version(tmp_path, 3)
    with pytest.raises(ModelError, match=r"model\.json has format_version 3, .* reads 1 to 2"):
        read_model_info(str(tmp_path))


@pytest.mark.parametrize(
    "changed",
    [
        *({"categories": [1]}, {"categories": [{"id": 1}]}, {"categories": 3}),
        *({"categories": [{"id": "1", "name": "a"}]}, {"categories": [{"id": 1, "name": None}]}),
        *({"max_objects": "4"}, {"max_objects": True}, {"max_objects": 0}, {"decoding": 5}),
        *({"resize": None}, {"source": 1}, {"weights_sha256": []}),
    ],
    ids=str,
)
def test_a_changed_description_is_refused(tmp_path, changed):
    write_json(tmp_path / MODEL_FILE, {"format_version": 2, **dataclasses.asdict(INFO)})
    assert read_model_info(tmp_path) == INFO
    write_json(tmp_path / MODEL_FILE, {"format_version": 2, **dataclasses.asdict(INFO), **changed})
    with pytest.raises(ModelError, match=r"model\.json is damaged .*write the model folder again"):
        read_model_info(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"it has no model\.json"):
        read_model_info(str(tmp_path))


def test_damaged_weights_are_refused(tmp_path):
    save_model_folder(tmp_path, network(), info=INFO)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"no HDF5")
    with pytest.raises(ModelError, match=r"weights\.h5 cannot be loaded"):
        load_model_folder(tmp_path)


def _weight(file):
    """The first weight matrix in a weights file."""
    found = []
    file.visititems(lambda _, item: found.append(item) if getattr(item, "ndim", 0) == 2 else None)
    return found[0]


def test_a_changed_weight_is_refused(tmp_path):
    save_model_folder(tmp_path, network(), info=INFO)
    load_model_folder(tmp_path)
    with h5py.File(tmp_path / WEIGHTS_FILE, "r+") as file:
        value = _weight(file)[0, 0].view(np.uint32)
        _weight(file)[0, 0] = np.uint32(value ^ 1).view(np.float32)
    for precision in ("float32", "bfloat16"):
        with pytest.raises(ModelError, match=r"weights\.h5 does not hold .*weights_sha256.*again"):
            load_model_folder(tmp_path, precision=precision)


def test_a_full_temporary_folder_is_named(tmp_path, monkeypatch):
    model = network()
    save_model_folder(tmp_path, model, info=INFO)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as refused:
        refused.setattr(type(epath.Path(tmp_path)), "copy", full)
        with pytest.raises(ModelError, match=r"weights\.h5 cannot be copied .*No space.*TMPDIR"):
            load_weights(model, str(tmp_path))
    load_weights(model, str(tmp_path))


def test_weights_that_are_no_file_are_refused(tmp_path):
    model = network()
    save_model_folder(tmp_path, model, info=INFO)
    (tmp_path / WEIGHTS_FILE).unlink()
    with (
        named_pipe(tmp_path / WEIGHTS_FILE),
        pytest.raises(ModelError, match=r"weights\.h5 is a named pipe.* copy it again"),
    ):
        load_weights(model, str(tmp_path))


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_a_digest_of_other_weights_is_refused(tmp_path, digest):
    save_model_folder(tmp_path, network(), info=INFO)
    path = tmp_path / MODEL_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights_sha256": digest}))
    with pytest.raises(ModelError, match="weights_sha256"):
        load_model_folder(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = network()
    weight = next(weight for weight in model.weights if len(weight.shape) == 2)
    weight.assign(np.where(np.arange(weight.shape[1]) == 1, np.nan, weight.numpy()))
    save_model_folder(tmp_path, model, info=INFO)
    with pytest.raises(ModelError, match=f"{weight.path} holds values that are not finite"):
        load_model_folder(tmp_path)


def test_weights_are_compared_once_for_each_state_of_the_file(tmp_path, monkeypatch):
    save_model_folder(tmp_path, network(), info=INFO)
    digest, computed = folder._weights_digest, []
    monkeypatch.setattr(folder, "_weights_digest", lambda n: computed.append(1) or digest(n))
    for _ in range(2):
        load_model_folder(tmp_path)
    assert len(computed) == 1
    save_model_folder(tmp_path, network(seed=5), info=INFO)
    load_model_folder(tmp_path)
    assert len(computed) == 3  # once as it was saved


def test_half_precision_holds_the_saved_weights(tmp_path):
    model = network(seed=3)
    written = save_model_folder(tmp_path, model, info=INFO)
    loaded, info = load_model_folder(tmp_path, precision="bfloat16")
    assert info == written
    assert "bfloat16" in {weight.dtype for weight in loaded.weights}
    for ours, saved in zip(loaded.weights, model.weights, strict=True):
        values = np.array(ours.numpy())
        np.testing.assert_array_equal(values, saved.numpy().astype(values.dtype))
