"""The model and the images that all ways of use are tried with.

Those of the environment's MODEL and IMAGES; without them a small untrained model and drawn images.
"""

import os
from pathlib import Path

import pytest

from pix2seq_model.decoding import DecodeSettings
from pix2seq_model.export import export_model_folder
from pix2seq_model.image_sources import find_images
from pix2seq_model.model_folder import SERVING_FOLDER, read_model_info
from pix2seq_model.pushed_model import GRAPH_FILE, find_model_folder, find_pushed_version
from tests.evaluated_model import jpeg, write_model

TOLERANCE = 1e-4  # of a box's edge, as a part of the image's side; and of a score


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    given = os.environ.get("MODEL")
    return find_model_folder(given) if given else write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def saved_model(model_dir, tmp_path_factory):
    """The pushed version if one was given, else the model folder's own, else a new one."""
    given = os.environ.get("MODEL")
    if given and (version := find_pushed_version(given)):
        return version
    own = Path(model_dir) / SERVING_FOLDER
    if (own / GRAPH_FILE).exists():
        return str(own)
    folder = tmp_path_factory.mktemp("saved_model") / "1"
    settings = DecodeSettings(max_objects=read_model_info(str(model_dir)).max_objects)
    export_model_folder(model_dir, folder, settings=settings)
    return str(folder)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Name to encoded file, and the folder they lie in."""
    folder = Path(os.environ.get("IMAGES") or tmp_path_factory.mktemp("images"))
    if "IMAGES" not in os.environ:
        for seed, size in enumerate([(64, 64), (200, 90), (31, 77)]):
            (folder / f"{seed}.jpg").write_bytes(jpeg(*size, seed))
    return folder, {source.name: source.read() for source in find_images([folder])}
