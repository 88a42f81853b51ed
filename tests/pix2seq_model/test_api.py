"""A model in Python: whatever is given, the objects are those that the commands find."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pix2seq_model
from pix2seq_model import api
from pix2seq_model.errors import ConfigError, DataError, ModelError
from pix2seq_model.model_folder.pushed import EXPORT_FILE
from tests.fixtures import published_layout, tiny_model
from tests.fixtures.evaluated_model import write_model
from tests.fixtures.records import jpeg
from tests.fixtures.videos import write_video

ROOT = Path(__file__).parents[2]
# As the flat distributions of random weights are made to name boxes with an area.
DECODING = {"top_p": 0.9, "max_objects": 5}
SEED = 0


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), finds_objects=True)


@pytest.fixture(scope="module")
def model(model_dir):
    return pix2seq_model.load(model_dir, batch_size=2, seed=SEED, **DECODING)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three photographs without loss: what decodes them does not matter."""
    folder = tmp_path_factory.mktemp("photos")
    for number, size in enumerate([(80, 50), (64, 64), (33, 100)]):
        image = Image.open(io.BytesIO(jpeg(*size, seed=number)))
        image.save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def expected(model, photos):
    return model.predict(photos, score=0.0)


def _same(found, expected):
    assert (found.width, found.height) == (expected.width, expected.height)
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert found.names == expected.names


def test_a_folder_is_all_its_images(expected, photos):
    assert [result.source for result in expected] == ["0.png", "1.png", "2.png"]
    assert [(result.width, result.height) for result in expected] == [(80, 50), (64, 64), (33, 100)]
    first = expected[0]
    assert len(first) == len(first.scores) == len(first.names) == len(first.boxes_xyxy) > 0
    assert set(first.names) <= {"ring", "cross"}
    assert (np.diff(first.scores) <= 0).all()
    assert (first.boxes_xyxy[:, 2:] > first.boxes_xyxy[:, :2]).all()
    assert (first.boxes_xyxy <= [80.001, 50.001, 80.001, 50.001]).all()
    assert first.milliseconds > 0
    assert first.best_score >= first.scores.max()


def test_paths_bytes_arrays_and_pillow_images_find_the_same(model, photos, expected):
    paths = sorted(photos.iterdir())
    images = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in images]
    given = [
        *(str(paths[0]), paths[1], paths[2].read_bytes()),
        *(arrays[0], images[1], paths[2].open("rb")),
        f"{photos}/*.png",
    ]
    found = model.predict((image for image in given), score=0.0)
    assert len(found) == 9
    for result, like in zip(found, [*expected, *expected, *expected]):
        _same(result, like)
    assert [result.source for result in found[2:6]] == [f"image {n}" for n in (3, 4, 5, 6)]


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_any_number_of_images(model, photos, expected, number):
    array = np.asarray(Image.open(photos / "1.png"))
    found = model.predict(np.stack([array] * number) if number else [], score=0.0)
    assert len(found) == number
    for result in found:
        _same(result, expected[1])


def test_one_image_is_enough(model, photos, expected):
    for single in (str(photos / "0.png"), np.asarray(Image.open(photos / "0.png"))):
        (found,) = model.predict(single, score=0.0)
        _same(found, expected[0])


def test_other_kinds_of_pixels(model):
    grey = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    opaque = np.concatenate([rgb, np.full((40, 60, 1), 255, np.uint8)], axis=2)
    expected = model.predict(rgb, score=0.0)[0]
    for same in (grey, grey[..., None], opaque, Image.fromarray(opaque), Image.fromarray(grey)):
        _same(model.predict([same], score=0.0)[0], expected)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    Image.fromarray(rgb).save(turned, "PNG", exif=exif)
    (found,) = model.predict(Image.open(turned))
    assert (found.width, found.height) == (40, 60)


def test_pictures_coco_yolo_and_csv(model, photos, expected):
    result = expected[0]
    assert result.plot().size == (80, 50)
    assert result.plot(longer_side=160).size == (160, 100)
    plain = np.asarray(Image.open(photos / "0.png"))
    assert (np.asarray(result.plot()) != plain).any()

    rows = expected.to_coco()
    assert len(rows) == sum(map(len, expected))
    assert {row["image_id"] for row in rows} <= {0, 1, 2}  # the files' own numbers
    x, y, width, height = rows[0]["bbox"]
    np.testing.assert_allclose([x, y, x + width, y + height], result.boxes_xyxy[0])
    assert rows[0]["file_name"] == "0.png"
    json.dumps(rows)

    labels = expected.to_yolo()["0.png"].splitlines()
    number, *box = map(float, labels[0].split())
    assert expected.class_names[int(number)] == result.names[0]
    xmin, ymin, xmax, ymax = result.boxes_xyxy[0] / [80, 50, 80, 50]
    np.testing.assert_allclose(
        box, [(xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin, result.scores[0]],
        atol=1e-6,
    )  # fmt: skip
    header, *table = expected.to_csv().splitlines()
    assert header.startswith("file_name,image_id,category_id,category,score,xmin")
    assert len(table) == len(rows)
    assert table[0].split(",")[3] == result.names[0]


def test_what_is_below_the_threshold_is_counted(model, photos, expected):
    (result,) = model.predict(photos / "0.png", score=1.0)
    assert len(result) == 0
    assert result.num_below >= len(expected[0])
    assert result.best_score == pytest.approx(expected[0].best_score)


def test_an_image_that_cannot_be_read(model, photos, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    given = [photos / "0.png", tmp_path / "broken.jpg", tmp_path / "none.jpg"]
    with pytest.raises(DataError, match=r"broken\.jpg: not an image"):
        model.predict(given)
    found = model.predict(given, on_error="keep")
    assert [bool(result.error) for result in found] == [False, True, True]
    assert found[2].error == "no such file"
    with pytest.raises(DataError, match="no such file"):
        found[2].plot()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "array of float32: give uint8"),
        (np.zeros((8, 8, 2), np.uint8), r"shape \(8, 8, 2\)"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
        ([None], "image 1 is of type NoneType: give a path"),
        (7, "of type int"),
        ([io.StringIO("text")], "mode 'rb'"),
    ],
)
def test_what_is_no_image_is_refused(model, image, message):
    with pytest.raises(DataError, match=message):
        model.predict(image)


def test_settings_that_cannot_work(model, model_dir):
    for options, message in (({"score": 2}, "score=2"), ({"on_error": "no"}, "on_error='no'")):
        with pytest.raises(ConfigError, match=message):
            model.predict([], **options)
    with pytest.raises(ConfigError, match="batch_size=0"):
        api.load(model_dir, batch_size=0)


def test_a_place_without_a_model(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        api.load(tmp_path / "none")
    with pytest.raises(ModelError, match="is no model"):
        api.load(tmp_path)


def test_a_foreign_saved_model_is_run_only_if_trusted(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="trust=True"):
        api.load(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded as a SavedModel"):
        api.load(tmp_path, trust=True)
    (tmp_path / EXPORT_FILE).parent.mkdir()
    (tmp_path / EXPORT_FILE).write_text("{}")
    assert api.find_model(str(tmp_path)) == ("SavedModel", str(tmp_path))
    with pytest.raises(ConfigError, match="leave out top_k"):
        api.load(tmp_path, top_k=1)


def test_a_note_beside_a_foreign_saved_model_makes_it_no_pushed_one(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    (tmp_path / "pushed.json").write_text('{"model_folder": "/gone"}')
    with pytest.raises(ModelError, match=r"trust=True|pushed\.json"):
        api.find_model(str(tmp_path))


def test_a_saved_model_finds_the_same(model_dir, photos, expected, tmp_path):
    from pix2seq_model.decoding.settings import DecodeSettings
    from pix2seq_model.model_folder.saved_model import export_model_folder

    version = tmp_path / "serving_model" / "17"
    export_model_folder(model_dir, version, settings=DecodeSettings(**DECODING), seed=SEED)
    served = api.load(version)
    assert served.kind == "SavedModel"
    assert served.categories == {2: "ring", 3: "cross"}
    for result, like in zip(served.predict(photos, score=0.0), expected, strict=True):
        _same(result, like)
    # The folder of versions, each with what says whose it is.
    (version / "pushed.json").write_text(json.dumps({"model_folder": str(tmp_path / "gone")}))
    assert api.find_model(str(version.parent)) == ("SavedModel", str(version))
    for name in ("model.json", "model.weights.h5"):
        (version / name).write_bytes((model_dir / name).read_bytes())
    assert api.find_model(str(version.parent)) == ("model folder", str(version))


def test_importing_it_loads_neither_keras_nor_tensorflow():
    code = (
        "import sys; from pix2seq_model import load, Result; import pix2seq_model; "
        "assert 'load' in dir(pix2seq_model); "
        "print([m for m in ('keras', 'tensorflow', 'jax', 'apache_beam') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        pix2seq_model.lod  # noqa: B018


def test_a_published_checkpoint_needs_names_for_its_categories(tmp_path, photos):
    published_layout.write(tmp_path, tiny_model.network())
    assert api.find_model(str(tmp_path)) == ("checkpoint", str(tmp_path))
    with pytest.raises(ModelError, match="give categories="):
        api.load(tmp_path)
    model = api.load(tmp_path, categories={2: "ring", 3: "cross"}, max_objects=2)
    assert (model.kind, model.categories) == ("checkpoint", {2: "ring", 3: "cross"})
    assert len(model.predict(photos, score=0.0)) == 3


@pytest.mark.parametrize("kind", ["model folder", "SavedModel", "ONNX"])
def test_names_for_a_model_that_has_them_are_refused(kind, model_dir, tmp_path):
    file = {"SavedModel": "saved_model.pb", "ONNX": "onnx.json"}.get(kind)
    if file:
        (tmp_path / file).touch()
    with pytest.raises(ConfigError, match=f"is a {kind}, .* leave out categories"):
        api.load(tmp_path if file else model_dir, trust=True, categories={2: "ring"})


def test_a_video_is_its_frames(model, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", frames=3)
    results = model.predict(clip, score=0.0)
    assert [result.source for result in results] == [f"clip_{n:06d}" for n in (1, 2, 3)]
    frames = [pixels_of_frame(result) for result in model.stream(str(clip), score=0.0)]
    for result, pixels in zip(results, frames):
        _same(result, model.predict(pixels, score=0.0)[0])
        # What `predict` gives back does not hold the frames: they are decoded again to be drawn.
        np.testing.assert_array_equal(pixels_of_frame(result), pixels)
        assert result.plot().size == (64, 48)
    clip.unlink()
    with pytest.raises(DataError, match="cannot be read again"):
        results[0].plot()


def pixels_of_frame(result):
    return result._pixels()
