"""The SavedModel: what it returns, against the same decoding in Python, and who can load it."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pix2seq_model import experiment
from pix2seq_model.decoding import DecodeSettings, generate
from pix2seq_model.detections import boxes_from_tokens, boxes_in_original
from pix2seq_model.evaluation_image import preprocess_for_evaluation
from pix2seq_model.export import export_saved_model
from pix2seq_model.pix2seq import build_model
from tests.pix2seq_model import tiny_run

SETTINGS = DecodeSettings(max_objects=3, top_p=0.9)


@pytest.fixture(scope="module")
def network():
    config = tiny_run.config()
    network = build_model(
        experiment.model_config(config, "finetune"), experiment.vocabulary(config), seed=4
    )
    # Untrained, any token is as likely as any other: prefer boxes and the two classes.
    bias = np.full(160, -4.0, np.float32)
    bias[120:152] = 0
    bias[[102, 107, 109]] = [1, 2, 1]
    network.decoder.output_bias.assign(bias)
    return network


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "Format-Serving"
    export_saved_model(network, folder, categories=tiny_run.CATEGORIES, settings=SETTINGS, seed=5)
    return folder


def _files():
    random = np.random.default_rng(0)
    files = []
    for shape, kind in (((40, 90, 3), "JPEG"), ((64, 32), "PNG"), ((20, 30, 3), "PNG")):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 255, shape, dtype=np.uint8)).save(file, kind)
        files.append(file.getvalue())
    return files


def _pixels(file):
    return np.asarray(tf.io.decode_image(file, channels=3, expand_animations=False))


def test_it_returns_what_python_decodes(network, folder):
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    got = {name: value.numpy() for name, value in served(image_bytes=tf.constant(_files())).items()}
    for index, file in enumerate(_files()):
        image, content_size = preprocess_for_evaluation(_pixels(file), (32, 48))
        decoded = generate(network, image[None], seed=5, max_objects=3, top_p=0.9)
        boxes = boxes_in_original(
            boxes_from_tokens(decoded["tokens"], network.vocabulary),
            image_size=(32, 48),
            content_size_B2=content_size.numpy()[None],
        )[0]
        expected = sorted(
            (
                (float(score), int(class_id), *map(float, box))
                for score, class_id, box in zip(
                    decoded["scores"][0], decoded["class_ids"][0], boxes
                )
                if class_id in (2, 7) and box[2] > box[0] and box[3] > box[1]
            ),
            reverse=True,
        )
        number = got["num_detections"][index]
        assert number == len(expected)
        for place, (score, class_id, *box) in enumerate(expected):
            assert got["detection_scores"][index, place] == pytest.approx(score, abs=1e-5)
            assert got["detection_classes"][index, place] == class_id
            assert got["detection_boxes"][index, place] == pytest.approx(box, abs=1e-5)
            name = {2: b"square", 7: b"bar"}[class_id]
            assert got["detection_class_names"][index, place] == name
        assert not got["detection_scores"][index, number:].any()
        assert not got["detection_classes"][index, number:].any()
    # Lest all of this compare nothing with nothing.
    assert got["num_detections"].sum() >= 2


def test_arrays_give_what_files_give(folder):
    signatures = tf.saved_model.load(str(folder)).signatures
    file = _files()[1]
    from_file = signatures["serving_default"](image_bytes=tf.constant([file]))
    from_array = signatures["serving_images"](images=_pixels(file)[None])
    assert from_file.keys() == from_array.keys()
    for name, value in from_file.items():
        assert np.array_equal(value, from_array[name]), name


def test_categories_are_inside(folder):
    content = (folder / "assets.extra/categories.json").read_text()
    assert json.loads(content) == list(tiny_run.CATEGORIES)


def test_it_runs_in_a_process_that_has_only_tensorflow(folder, tmp_path):
    program = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pix2seq_model", "components"):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
image = tf.io.encode_png(tf.zeros((50, 70, 3), tf.uint8))
result = served(image_bytes=tf.stack([image, image]))
assert "pix2seq_model" not in sys.modules
print({name: value.shape.as_list() for name, value in sorted(result.items())})
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "KERAS"))}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=tmp_path,
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert eval(done.stdout.splitlines()[-1]) == {
        "detection_boxes": [2, 3, 4],
        "detection_class_names": [2, 3],
        "detection_classes": [2, 3],
        "detection_scores": [2, 3],
        "num_detections": [2],
    }
