"""Prediction on a person's own images: files as promised, bad images set aside."""

import dataclasses
import inspect
import io
import json

import pytest
from PIL import Image

from pix2seq_model.decoding.detector import Detector
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.prediction import image_detector
from pix2seq_model.prediction import predict as predicting
from pix2seq_model.prediction.image_detector import ImageDetector
from pix2seq_model.prediction.image_sources import find_images
from tests.fixtures.evaluated_model import MAX_OBJECTS, write_model
from tests.fixtures.records import jpeg

# The weights are random and scores tiny.
SAMPLING = {"top_p": 1.0, "end_token_offset": -100.0, "batch_size": 2, "score_threshold": 0.0}


def predict(model_dir, sources, *, batch_size=8, **options):
    """Runs a model folder with the options of both."""
    ours = {field: options.pop(field) for field in list(options) if field in _OPTIONS}
    return predicting.predict(
        lambda: ImageDetector(model_dir, batch_size=batch_size, **options), sources, **ours
    )


_OPTIONS = inspect.signature(predicting.predict).parameters


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", autouse=True)
def compiled_once(model_dir):
    loaded = image_detector.load_model_folder(str(model_dir))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_detector, "load_model_folder", lambda folder, precision: loaded)
        yield loaded


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(jpeg(80, 50, seed=1))
    (folder / "broken.jpg").write_bytes(jpeg(80, 50, seed=2)[:200])
    (folder / "empty.png").write_bytes(b"")
    Image.new("L", (30, 90), 128).save(folder / "deep" / "grey.png")
    return folder


def test_attention_is_a_sheet_of_five_pictures_for_each_object(
    model_dir, photos, tmp_path, compiled_once
):
    output = tmp_path / "out"
    predict(
        model_dir,
        find_images([photos / "a.jpg"]),
        output_dir=output,
        draw=False,
        attention=True,
        stream=io.StringIO(),
        **SAMPLING,
    )
    sheet = Image.open(output / "attention" / "a.jpg.jpg")
    assert sheet.width > 5 * 180
    assert sheet.height > 112  # of one row's pictures


def test_the_rest_is_done_when_some_images_cannot_be_read(model_dir, photos, tmp_path):
    stream = io.StringIO()
    output = tmp_path / "out"
    done = predict(model_dir, find_images([photos]), output_dir=output, stream=stream, **SAMPLING)
    assert done.num_images == 2
    empty, truncated = sorted(reason for _, reason in done.unreadable)
    assert empty.startswith("not an image (JPEG, PNG,")
    assert empty.endswith("the file is empty")
    assert truncated == "not an image that can be read: OSError('Truncated File Read')"
    listed = json.loads((output / "unreadable.json").read_text())
    assert {row["file"] for row in listed} == {
        str(photos / "broken.jpg"),
        str(photos / "empty.png"),
    }
    images = json.loads((output / "images.json").read_text())
    assert [(row["file_name"], row["width"], row["height"]) for row in images["images"]] == [
        ("a.jpg", 80, 50),
        ("deep/grey.png", 30, 90),
    ]
    assert [row["name"] for row in images["categories"]] == ["ring", "cross"]
    detections = json.loads((output / "detections.json").read_text())
    assert len(detections) == done.num_detections > 0
    assert {row["image_id"] for row in detections} <= {row["id"] for row in images["images"]}
    assert Image.open(output / "pictures" / "a.jpg.jpg").size == (80, 50)
    assert Image.open(output / "pictures" / "deep" / "grey.png.jpg").size == (30, 90)
    assert Image.open(output / "contact_sheet.jpg").width > 480
    assert "4/4 (100%)" in stream.getvalue()


def test_a_phone_photograph_is_looked_at_and_drawn_upright(model_dir, tmp_path, compiled_once):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 50), "red").save(tmp_path / "x.jpg", exif=exif)
    done = predict(model_dir, find_images([tmp_path]), output_dir=tmp_path / "out", **SAMPLING)
    assert done.num_turned == 1
    (row,) = json.loads((tmp_path / "out/images.json").read_text())["images"]
    assert (row["width"], row["height"]) == (50, 80)
    assert Image.open(tmp_path / "out/pictures/x.jpg.jpg").size == (50, 80)


def test_the_threshold_and_no_pictures(model_dir, photos, tmp_path):
    settings = {**SAMPLING, "score_threshold": 0.99}
    done = predict(
        model_dir, find_images([photos]), output_dir=tmp_path / "out", draw=False, **settings
    )
    assert done.num_detections == 0
    assert json.loads((tmp_path / "out" / "detections.json").read_text()) == []
    assert not (tmp_path / "out" / "pictures").exists()
    assert not (tmp_path / "out" / "contact_sheet.jpg").exists()


def test_objects_are_found_as_the_model_folder_says_unless_told_otherwise(
    model_dir, photos, tmp_path, compiled_once, monkeypatch
):
    def detections(name, **decoding):
        predict(
            model_dir,
            find_images([photos / "a.jpg"]),
            output_dir=tmp_path / name,
            score_threshold=0.0,
            draw=False,
            stream=io.StringIO(),
            **decoding,
        )
        return json.loads((tmp_path / name / "detections.json").read_text())

    sampled = {"top_p": 1.0, "end_token_offset": -100.0, "seed": 5}
    likeliest = {"top_k": 1, "end_token_offset": -100.0}
    told = detections("sampled", **sampled), detections("likeliest", **likeliest)
    assert told[0] != told[1]
    network, info = compiled_once
    says_likeliest = dataclasses.replace(info, decoding=likeliest)
    monkeypatch.setattr(
        image_detector, "load_model_folder", lambda folder, precision: (network, says_likeliest)
    )
    assert detections("by the folder") == told[1]
    assert detections("told otherwise", top_k=0, **sampled) == told[0]


def test_nothing_readable_is_an_error_that_names_the_first(model_dir, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of 1 images can be read.*x\.jpg"):
        predict(model_dir, find_images([tmp_path]), output_dir=tmp_path / "out", **SAMPLING)


def test_more_objects_than_positions_are_refused(compiled_once):
    network, _ = compiled_once
    with pytest.raises(ConfigError, match=f"set max_objects to at most {MAX_OBJECTS} "):
        Detector(network, max_objects=MAX_OBJECTS + 1)


def test_each_image_is_written_as_it_comes_and_kept_if_a_later_one_fails(
    model_dir, photos, tmp_path, monkeypatch, compiled_once
):
    output = tmp_path / "out"
    write = predicting.OutputFolder.write

    def full(folder, relative, content):
        if "b.jpg" in relative:
            raise OSError(28, "No space left on device")
        write(folder, relative, content)

    (photos / "b.jpg").write_bytes(jpeg(60, 40, seed=4))
    monkeypatch.setattr(predicting.OutputFolder, "write", full)
    done = predict(
        model_dir,
        find_images([photos]),
        output_dir=output,
        formats=("coco", "yolo", "csv"),
        stream=io.StringIO(),
        **SAMPLING,
    )
    assert (done.num_images, len(done.unreadable)) == (3, 3)
    assert (
        str(photos / "b.jpg"),
        "pictures/b.jpg.jpg cannot be written: No space left on device",
    ) in done.unreadable
    assert (output / "labels/deep/grey.txt").exists()
    assert len((output / "detections.csv").read_text().splitlines()) == done.num_detections + 1
    lines = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert [line.get("file_name") for line in lines if "id" in line] == [
        "a.jpg",
        "b.jpg",
        "deep/grey.png",
    ]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "full"), DataError)],
)
def test_an_interruption_leaves_what_was_found(
    model_dir, photos, tmp_path, monkeypatch, compiled_once, error, raised
):
    output = tmp_path / "out"
    add, lines = predicting.OutputFolder.add, []

    def fails_at_the_second(folder, line):
        lines.append(line)
        if len(lines) == 2:
            raise error
        add(folder, line)

    monkeypatch.setattr(predicting.OutputFolder, "add", fails_at_the_second)
    with pytest.raises(raised, match="what was found in 1 of 4 images is in"):
        predict(model_dir, find_images([photos]), output_dir=output, draw=False, **SAMPLING)
    assert len(json.loads((output / "images.json").read_text())["images"]) == 1
    assert json.loads((output / "predict.json").read_text())["complete"] is False


def test_an_interruption_says_when_the_lists_cannot_be_made(
    model_dir, photos, tmp_path, monkeypatch, compiled_once
):
    output = tmp_path / "out"
    add = predicting.OutputFolder.add

    def damages_and_stops(folder, line):
        add(folder, line)
        (output / "results.jsonl").write_text("{\n")
        raise KeyboardInterrupt

    monkeypatch.setattr(predicting.OutputFolder, "add", damages_and_stops)
    with pytest.raises(KeyboardInterrupt, match=r"results.jsonl, without lists of it \(.*line 1"):
        predict(model_dir, find_images([photos]), output_dir=output, draw=False, **SAMPLING)


def test_an_output_that_cannot_be_made_is_found_before_the_model(photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    for output, message in (("out", "did not write"), ("out/notes.txt/x", "cannot be written")):
        with pytest.raises(DataError, match=message):
            predicting.predict(pytest.fail, find_images([photos]), output_dir=tmp_path / output)


def test_what_is_refused_leaves_the_results_of_the_run_before(
    model_dir, photos, tmp_path, compiled_once
):
    sources, output = find_images([photos]), tmp_path / "out"
    predict(model_dir, sources, output_dir=output)
    before = sorted(output.rglob("*"))
    with pytest.raises(ConfigError, match="at least 32 pixels"):
        predict(model_dir, sources, output_dir=output, tile=10)
    assert sorted(output.rglob("*")) == before


def test_what_lies_below_the_threshold_is_said(model_dir, photos, tmp_path, compiled_once):
    settings = {**SAMPLING, "score_threshold": 0.99}
    done = predict(model_dir, find_images([photos]), output_dir=tmp_path / "out", **settings)
    assert done.num_below > 0 == done.num_detections
    assert 0 < done.best_score < 0.99
    assert done.milliseconds > 0


def test_attention_is_of_whole_images_and_of_model_folders(photos, tmp_path):
    sources = find_images([photos])
    with pytest.raises(ConfigError, match="leave out --tile"):
        predicting.predict(
            pytest.fail, sources, output_dir=tmp_path / "out", attention=True, tile=640
        )
    with pytest.raises(ConfigError, match="needs a model folder"):
        predicting.predict(object, sources, output_dir=tmp_path / "out", attention=True)
