"""The Python lines in docs/serving.md, as they stand there, print what the model finds."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.model_folder.saved_model import export_saved_model
from tests.fixtures.evaluated_model import MAX_OBJECTS, write_model
from tests.fixtures.records import jpeg

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "serving.md"
VERSION = "demo/pipeline/serving_model/20260314150926535"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with the model and the photograph that the document uses."""
    folder = tmp_path_factory.mktemp("document")
    network, info = load_model_folder(str(write_model(folder / "model", finds_objects=True)))
    settings = DecodeSettings(max_objects=MAX_OBJECTS, top_p=0.9)
    export_saved_model(
        network, folder / VERSION, categories=info.categories, settings=settings, seed=0
    )
    (folder / "photo.jpg").write_bytes(jpeg(90, 40, seed=3))
    return folder


def test_the_python_lines_print_the_objects(folder, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(import tensorflow.*?)```", DOCUMENT.read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    names = {}
    exec(code, names)
    found = names["found"]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == found["num_detections"][0] > 0
    for place, line in enumerate(printed):
        category = found["detection_class_names"][0, place].numpy().decode()
        assert re.fullmatch(rf"{category} 0\.\d\d:( [01]\.\d{{3}}){{4}}", line)


def test_the_lines_for_python_find_objects(folder, monkeypatch, capsys):
    (code,) = re.findall(
        r"```python\n(from pix2seq_model import.*?)```", DOCUMENT.read_text(), re.S
    )
    assert 'load("serving_model")' in code
    model = folder / "model"
    names = {
        "array": np.asarray(Image.open(folder / "photo.jpg")),
        "pil_image": Image.open(folder / "photo.jpg"),
    }
    monkeypatch.chdir(folder)
    # The scores of random weights are tiny.
    exec(code.replace('"serving_model"', repr(str(model))).replace("0.3", "0.0"), names)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if "[[" in line]
    assert Image.open(folder / "drawn.jpg").size == (90, 40)


def test_the_pixels_of_the_curl_example_are_a_batch(folder):
    (request,) = re.findall(r"-d '(\{.*?\})'", DOCUMENT.read_text(), re.DOTALL)
    request = json.loads(request)
    served = tf.saved_model.load(str(folder / VERSION)).signatures[request["signature_name"]]
    pixels = tf.constant(request["instances"], tf.uint8)
    assert pixels.shape == (2, 2, 3, 3)
    assert served(images=pixels)["num_detections"].shape == (2,)
