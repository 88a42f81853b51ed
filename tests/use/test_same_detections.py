"""One model finds the same objects by every way of using it.

make test-use MODEL=demo/pipeline/serving_model IMAGES=demo/data/coco/val2017
"""

import http.client
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.input_pipeline.preprocessing import decode_image
from pix2seq_model.model_folder.saved_model import SERVED_FILES, SERVED_IMAGES
from pix2seq_model.web_demo.model import AttentiveModel, ServedModel
from pix2seq_model.web_demo.server import DemoServer
from tests.fixtures.commands import run_command
from tests.use.conftest import TOLERANCE

pytestmark = pytest.mark.use


@pytest.fixture(scope="module")
def expected(model_dir, images, tmp_path_factory):
    """What predict.py finds."""
    output = tmp_path_factory.mktemp("predict")
    run_command(
        "predict",
        f"--model={model_dir}",
        f"--images={images[0]}",
        f"--output={output}",
        "--score_threshold=0",
        "--nopictures",
    )
    rows = json.loads((output / "images.json").read_text())["images"]
    names = {row["id"]: row["file_name"] for row in rows}
    found = {name: [] for name in images[1]}
    for row in json.loads((output / "detections.json").read_text()):
        found[names[row["image_id"]]].append((row["category_id"], row["bbox"], row["score"]))
    found = {name: _with_area(objects) for name, objects in found.items()}
    assert sum(map(len, found.values())) >= len(images[1]) / 2, "next to nothing was found"
    return found


def _with_area(objects):
    return [(c, box, score) for c, box, score in objects if box[2] > 0 and box[3] > 0]


def _sizes(images):
    return {name: decode_image(file).shape[1::-1] for name, file in images[1].items()}


def _compare(way, found, expected, images):
    """Every object has its like, of its class, and none is left over."""
    assert found.keys() == expected.keys()
    box_error = score_error = 0.0
    sizes = _sizes(images)
    for name, objects in expected.items():
        others = list(found[name])
        assert len(others) == len(objects), (way, name)
        scale = np.array([*sizes[name], *sizes[name]], float)
        for category, box, score in objects:
            errors = [
                max(np.abs((np.array(box) - other_box) / scale).max(), abs(score - other_score))
                if other_category == category
                else np.inf
                for other_category, other_box, other_score in others
            ]
            nearest = int(np.argmin(errors))
            assert errors[nearest] <= TOLERANCE, (way, name, category, box, score, others)
            _, other_box, other_score = others.pop(nearest)
            box_error = max(box_error, np.abs((np.array(box) - other_box) / scale).max())
            score_error = max(score_error, abs(score - other_score))
    number = sum(map(len, expected.values()))
    print(
        f"{way}: {len(expected)} images, {number} objects as predict.py finds them; "
        f"boxes to {box_error:.1e}, scores to {score_error:.1e}"
    )


def test_batch_prediction(model_dir, images, expected, tmp_path):
    run_command(
        "predict_batch",
        f"--model={model_dir}",
        f"--images={images[0]}",
        f"--output={tmp_path}",
        "--score_threshold=0",
        "--images_per_shard=40",
    )
    found = {}
    for path in sorted((tmp_path / "detections").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            name = os.path.relpath(row["image"], images[0])
            found[name] = _with_area(
                [(d["category_id"], d["bbox"], d["score"]) for d in row["detections"]]
            )
    _compare("predict_batch.py", found, expected, images)


@pytest.mark.parametrize("signature", [SERVED_FILES, SERVED_IMAGES])
def test_saved_model(saved_model, images, expected, signature):
    model = tf.saved_model.load(saved_model)
    served = model.signatures[signature]
    found = {}
    for name, file in images[1].items():
        if signature == SERVED_FILES:
            answer = served(image_bytes=tf.constant([file]))
        else:
            answer = served(images=decode_image(file)[None])
        width, height = decode_image(file).shape[1::-1]
        found[name] = []
        for index in range(answer["num_detections"][0]):
            ymin, xmin, ymax, xmax = answer["detection_boxes"][0, index].numpy().astype(float)
            box = [xmin * width, ymin * height, (xmax - xmin) * width, (ymax - ymin) * height]
            category = int(answer["detection_classes"][0, index])
            found[name].append((category, box, float(answer["detection_scores"][0, index])))
    _compare(f"SavedModel, {signature}", found, expected, images)


@pytest.mark.parametrize("attentive", [True, False], ids=["model folder", "SavedModel alone"])
def test_web_page(model_dir, saved_model, images, expected, attentive):
    model = AttentiveModel(model_dir) if attentive else ServedModel(saved_model)
    found = {}
    with DemoServer(model) as server:
        server.start()
        for name, file in images[1].items():
            connection = http.client.HTTPConnection(*server.server_address[:2], timeout=300)
            connection.request("POST", "/detect", file)
            reply = connection.getresponse()
            answer = json.loads(reply.read())
            assert reply.status == 200, answer
            connection.close()
            found[name] = [(d["category_id"], d["bbox"], d["score"]) for d in answer["detections"]]
            assert all((d["attention"] is not None) == attentive for d in answer["detections"])
    _compare(f"web page, attention {attentive}", found, expected, images)
