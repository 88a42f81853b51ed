import json

import h5py
import numpy as np
import pytest

from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder.folder import (
    MODEL_FILE,
    WEIGHTS_FILE,
    ModelInfo,
    load_model_folder,
    read_model_info,
    save_model_folder,
)
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


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"it has no model\.json"):
        read_model_info(str(tmp_path))


def test_damaged_weights_are_refused(tmp_path):
    save_model_folder(tmp_path, network(), info=INFO)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"no HDF5")
    with pytest.raises(ModelError, match=r"weights\.h5 cannot be loaded"):
        load_model_folder(tmp_path)
