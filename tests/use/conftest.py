"""The model and the images that all ways of use are tried with: MODEL and IMAGES say which."""

import os
from pathlib import Path

import pytest

from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.model_folder.folder import SERVING_FOLDER, read_model_info
from pix2seq_model.model_folder.pushed import GRAPH_FILE, find_model_folder, find_pushed_version
from pix2seq_model.model_folder.saved_model import export_model_folder
from pix2seq_model.prediction.image_sources import find_images

TOLERANCE = 1e-4  # of a box's edge, as a part of the image's side; and of a score


def _given(name):
    if name not in os.environ:
        pytest.fail(f"set {name}: `make test-use` does, to what `make demo` made")
    return os.environ[name]


@pytest.fixture(scope="session")
def model_dir():
    return find_model_folder(_given("MODEL"))


@pytest.fixture(scope="session")
def saved_model(model_dir, tmp_path_factory):
    """The pushed version if one was given, else the model folder's own, else a new one."""
    if version := find_pushed_version(_given("MODEL")):
        return version
    own = Path(model_dir) / SERVING_FOLDER
    if (own / GRAPH_FILE).exists():
        return str(own)
    folder = tmp_path_factory.mktemp("saved_model") / "1"
    decoding = read_model_info(str(model_dir)).decoding_with({})
    seed = decoding.pop("seed", 0)
    export_model_folder(model_dir, folder, settings=DecodeSettings(**decoding), seed=seed)
    return str(folder)


@pytest.fixture(scope="session")
def images():
    """The folder, and name to encoded file."""
    folder = Path(_given("IMAGES"))
    return folder, {source.name: source.read() for source in find_images([folder])}
