"""What the page is told of an image: objects, and where the model looked for each of them."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.api import find_model
from pix2seq_model.decoding.attention import cross_attention_maps
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import ConfigError, ModelError
from pix2seq_model.input_pipeline.image_file import prepare_image
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.model_folder.pushed import EXPORT_FILE
from pix2seq_model.model_folder.saved_model import export_saved_model
from pix2seq_model.prediction import image_detector
from pix2seq_model.web_demo.model import AttentiveModel, ServedModel, open_demo_model
from tests.fixtures.evaluated_model import MAX_OBJECTS, write_model
from tests.fixtures.records import jpeg

TOP_P, SEED = 0.9, 0
IMAGE = jpeg(90, 40, seed=3)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), finds_objects=True)


@pytest.fixture(scope="module")
def loaded(model_dir):
    return load_model_folder(str(model_dir))


@pytest.fixture(scope="module")
def version(loaded, model_dir, tmp_path_factory):
    """A pushed version whose model folder is gone."""
    folder = tmp_path_factory.mktemp("served") / "7"
    network, info = loaded
    settings = DecodeSettings(max_objects=MAX_OBJECTS, top_p=TOP_P)
    export_saved_model(network, folder, categories=info.categories, settings=settings, seed=SEED)
    (folder / "pushed.json").write_text(json.dumps({"model_folder": f"{model_dir}/gone"}))
    return folder


@pytest.fixture(scope="module")
def attentive(model_dir, loaded):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_detector, "load_model_folder", lambda *_, **__: loaded)
        yield AttentiveModel(model_dir, top_p=TOP_P, seed=SEED)


def test_each_object_comes_with_the_maps_of_its_own_tokens(attentive, loaded):
    answer = attentive.explain(IMAGE, max_pixels=10_000)
    assert (answer["width"], answer["height"], answer["is_turned"]) == (90, 40, False)
    # 90 x 40 is 64 x 28 of the 64 x 64 that the model sees, as 4 x 4 patches.
    attention = answer["attention"]
    assert attention["rows"] == attention["columns"] == 4
    assert attention["stretch"] == pytest.approx([64 / 28, 1.0])
    scores = [found["score"] for found in answer["detections"]]
    assert len(scores) > 1
    assert scores == sorted(scores, reverse=True)

    network, _ = loaded
    prepared = prepare_image(IMAGE, image_size=(64, 64))
    tokens = attentive._model.detector.generate(prepared.image[None], [prepared.key])
    maps = cross_attention_maps(network, prepared.image[None], tokens["tokens"])[0]
    slots = {round(float(score), 6): slot for slot, score in enumerate(tokens["scores"][0])}
    for found in answer["detections"]:
        slot = slots[round(found["score"], 6)]
        own = maps[5 * slot : 5 * slot + 5]
        sent = np.frombuffer(base64.b64decode(found["attention"]), np.uint8).reshape(5, 4, 4)
        expected = 255 * own / own.max(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(sent, expected, atol=0.51)
        assert found["category"] in ("ring", "cross")
        assert found["color"].startswith("#")
        x, y, width, height = found["bbox"]
        assert width > 0
        assert height > 0
        assert x + width <= 90 + 1e-3
        assert y + height <= 40 + 1e-3


def test_the_page_shows_what_the_model_saw_where_the_file_does_not(attentive):
    assert attentive.explain(IMAGE, max_pixels=10_000)["picture"] is None
    file = io.BytesIO()
    Image.new("RGBA", (30, 20)).save(file, "PNG")
    picture = attentive.explain(file.getvalue(), max_pixels=10_000)["picture"]
    shown = Image.open(io.BytesIO(base64.b64decode(picture.removeprefix("data:image/png;base64,"))))
    assert (shown.mode, shown.getpixel((3, 3))) == ("RGB", (255, 255, 255))


def test_a_savedmodel_alone_gives_the_same_objects_and_no_attention(attentive, version):
    with pytest.raises(ConfigError, match="settings are fixed: leave out max_objects"):
        open_demo_model("SavedModel", str(version), max_objects=2)
    served = open_demo_model(*find_model(str(version.parent)), threshold=0.6)
    assert served.threshold == 0.6
    assert isinstance(served, ServedModel)
    ours = attentive.explain(IMAGE, max_pixels=10_000)["detections"]
    answer = served.explain(IMAGE, max_pixels=10_000)
    assert answer["attention"] is None
    assert len(answer["detections"]) == len(ours) > 1
    for one, other in zip(answer["detections"], ours):
        assert one["attention"] is None
        assert (one["category_id"], one["category"]) == (other["category_id"], other["category"])
        assert one["bbox"] == pytest.approx(other["bbox"], abs=1e-3)
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_a_savedmodel_of_others_is_run_on_a_word_alone(version, tmp_path):
    strange = shutil.copytree(version, tmp_path / "strange")
    (strange / EXPORT_FILE).unlink()
    (strange / "pushed.json").unlink()
    with pytest.raises(ModelError, match="if you know who made it"):
        find_model(str(strange))
    served = open_demo_model(*find_model(str(strange), trust=True))
    assert isinstance(served, ServedModel)
    assert served.classes == open_demo_model(*find_model(str(version))).classes
    assert [row["name"] for row in served.classes] == ["ring", "cross"]


def test_a_kind_that_the_page_does_not_show_is_refused():
    with pytest.raises(ConfigError, match=r"x: the page shows .* of the kind checkpoint"):
        open_demo_model("checkpoint", "x")
