"""The importer's executor: a published checkpoint becomes a Model artifact, or is refused."""

import json
import shutil

import pytest
from tfx.types import standard_artifacts

from components.checkpoint_importer import CheckpointImporter
from pix2seq_model.errors import CheckpointError
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.published.recipe import read_recipe
from tests.fixtures import published_layout, tiny_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return published_layout.write(
        tmp_path_factory.mktemp("published") / "run", tiny_model.network()
    )


def do(checkpoint, folder):
    model = standard_artifacts.Model()
    model.uri = str(folder)
    CheckpointImporter.test_call(
        model=model, checkpoint=str(checkpoint), fingerprint="1", code_version="1"
    )
    return model


def test_every_weight_arrives(checkpoint, tmp_path):
    model = do(checkpoint, tmp_path / "model")
    assert model.get_string_custom_property("checkpoint") == str(checkpoint / "ckpt-7")
    network, info = load_model_folder(tmp_path / "model")
    assert info.source.startswith("imported from ")
    report = json.loads((tmp_path / "model/import.json").read_text())
    assert (report["missing"], report["unused"]) == ([], [])
    assert len(report["loaded"]) == len(network.weights)
    written = json.loads((checkpoint / "config.json").read_text())
    assert read_recipe(str(tmp_path / "model")) == {
        name: written[name] for name in ("task", "optimization", "train")
    }


def test_a_truncated_checkpoint_is_refused(checkpoint, tmp_path):
    copied = shutil.copytree(checkpoint, tmp_path / "copied")
    (data,) = copied.glob("*.data-*")
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"ckpt-7"):
        do(copied, tmp_path / "model")
    assert not (tmp_path / "model/model.json").exists()
