"""Batch prediction as a job: what it writes, counts and keeps."""

import json
import os
import zipfile
from typing import ClassVar

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from components.prediction import predict_shards
from components.prediction.options import PredictionOptions
from components.prediction.predict import predict_images
from components.storage import image_store
from pix2seq_model.data.tfrecord import read_records
from pix2seq_model.errors import ConfigError, DataError, FolderInUseError, ModelError, UserError
from pix2seq_model.folder_lock import FolderLock
from pix2seq_model.input_pipeline.image_file import prepare_image
from pix2seq_model.prediction import image_detector
from pix2seq_model.prediction.image_detector import ImageDetector
from pix2seq_model.prediction.image_sources import find_images
from pix2seq_model.prediction.predict import predict
from tests.fixtures.detection_record_reader import decode_detections
from tests.fixtures.evaluated_model import write_examples, write_model
from tests.fixtures.records import jpeg

# The weights are random and scores tiny.
DECODING = {"top_p": 1.0, "end_token_offset": -100.0, "seed": 3}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", autouse=True)
def loaded(model_dir):
    """The model, loaded and compiled once; counts how often a job asked for it."""
    network = image_detector.load_model_folder(str(model_dir))
    asked = []

    def load(folder, *, precision):
        asked.append(folder)
        return network

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_detector, "load_model_folder", load)
        yield asked


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.jpg").write_bytes(jpeg(60 + number, 50, seed=number))
    (folder / "2.jpg").write_bytes(jpeg(60, 50, seed=2)[:200])
    (folder / "3.jpg").write_bytes(b"")
    Image.new("L", (300, 90), 128).save(folder / "7.png")
    (folder / "8.jpg").symlink_to(folder / "nowhere")
    return folder


def run(model_dir, output, *images, overwrite=False, **fields):
    fields = {"images_per_shard": 4, "batch_size": 2, "score_threshold": 0.0, **fields}
    options = PredictionOptions(
        model_dir=str(model_dir), images=tuple(map(str, images)), decoding=DECODING, **fields
    )
    return predict_images(
        options,
        str(output),
        make_pipeline=lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
        overwrite=overwrite,
    )


def content(output):
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file()
    }


def lines(output, kind="detections"):
    files = sorted((output / kind).glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def test_every_image_is_written_or_said_to_be_unreadable(model_dir, photos, tmp_path):
    (tmp_path / "list.txt").write_text(f"{photos}/9.jpg\n")
    output = tmp_path / "out"
    done = run(model_dir, output, photos, tmp_path / "list.txt", max_pixels=20_000)
    assert done["images"] == 10 == done["written"] + sum(done["unreadable"].values())
    assert done["unreadable"] == {
        "image_missing": 2,
        "image_not_decodable": 2,
        "image_too_large": 1,
    }
    assert json.loads((output / "predictions.json").read_text()) == done
    read = lines(output)
    assert [row["image"] for row in read] == [f"{photos}/{n}.jpg" for n in (0, 1, 4, 5, 6)]
    assert [row["width"] for row in read] == [60, 61, 64, 65, 66]
    assert sum(len(row["detections"]) for row in read) == done["detections"] > 5
    assert {d["category"] for row in read for d in row["detections"]} <= {"ring", "cross"}
    assert sorted((row["image"][-5:], row["rule"]) for row in lines(output, "unreadable")) == [
        ("2.jpg", "image_not_decodable"),
        ("3.jpg", "image_not_decodable"),
        ("7.png", "image_too_large"),
        ("8.jpg", "image_missing"),
        ("9.jpg", "image_missing"),
    ]
    # The records say the same.
    records = []
    for path in sorted((output / "detections").glob("*.tfrecord")):
        with path.open("rb") as file:
            records += map(decode_detections, read_records(file, name=str(path)))
    assert [record.image for record in records] == [row["image"] for row in read]
    for record, row in zip(records, read):
        found = [(d["category_id"], d["bbox"]) for d in row["detections"]]
        for (category, box), other in zip(found, record.rows, strict=True):
            assert other["category_id"] == category
            assert other["bbox"] == pytest.approx(box, abs=1e-4)


def test_an_archive_is_read_in_place(model_dir, photos, tmp_path):
    folder, archive = tmp_path / "few", tmp_path / "few.zip"
    folder.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("0.jpg", "1.jpg", "2.jpg"):
            (folder / name).write_bytes((photos / name).read_bytes())
            file.write(photos / name, f"in/{name}")

    def found(place):
        output = tmp_path / f"out of {place.name}"
        assert run(model_dir, output, place)["written"] == 2
        lines = next(output.glob("detections/*.jsonl")).read_text().splitlines()
        return [json.loads(line)["detections"] for line in lines]

    assert found(folder) == found(archive)


def test_it_finds_what_predict_finds(model_dir, photos, tmp_path):
    run(model_dir, tmp_path / "out", photos)
    predict(
        lambda: ImageDetector(model_dir, batch_size=4, **DECODING),
        find_images([photos]),
        output_dir=tmp_path / "one",
        score_threshold=0.0,
        draw=False,
    )
    images = json.loads((tmp_path / "one/images.json").read_text())["images"]
    names = {row["id"]: row["file_name"] for row in images}
    expected = [
        (names[row["image_id"]], row["category_id"], row["bbox"], row["score"])
        for row in json.loads((tmp_path / "one/detections.json").read_text())
    ]
    got = [
        (os.path.basename(row["image"]), d["category_id"], d["bbox"], d["score"])
        for row in lines(tmp_path / "out")
        for d in row["detections"]
    ]
    assert len(got) == len(expected) > 5
    for ours, theirs in zip(got, expected):
        assert ours[:2] == theirs[:2]
        assert [*ours[2], ours[3]] == pytest.approx([*theirs[2], theirs[3]], abs=1e-4)


def test_a_rerun_keeps_finished_shards_and_tries_missing_files_again(
    model_dir, photos, tmp_path, loaded
):
    output = tmp_path / "out"
    (photos / "8.jpg").unlink()
    run(model_dir, output, photos)
    before = content(output)
    first = output / "detections/detections-00000-of-00002.jsonl"
    last = output / "detections/detections-00001-of-00002.jsonl"
    times = [path.stat().st_mtime_ns for path in (first, last)]
    (output / "predictions.json").unlink()
    (output / "detections/detections-00000-of-00009.jsonl").write_bytes(b"of another run")
    loaded.clear()
    run(model_dir, output, photos)
    assert content(output) == before
    assert [path.stat().st_mtime_ns for path in (first, last)] == times
    assert not loaded

    listed = tmp_path / "list.txt"
    listed.write_text(f"{photos}/0.jpg\n{photos}/8.jpg\n")
    assert run(model_dir, output, listed)["unreadable"] == {"image_missing": 1}
    (photos / "8.jpg").write_bytes(jpeg(60, 50, seed=9))
    assert run(model_dir, output, listed)["written"] == 2
    assert loaded


def test_an_image_that_cannot_be_read_now_ends_the_job(model_dir, photos, tmp_path, monkeypatch):
    def read(self, path):
        if path == "6.jpg" and errors:
            raise errors.pop()
        return original(self, path)

    errors, original = [OSError("no network")] * 4, image_store.ImageFolder.read
    monkeypatch.setattr(image_store.ImageFolder, "read", read)
    monkeypatch.setattr(image_store._retrying, "sleep", lambda seconds: None)
    with pytest.raises(Exception, match=r"6\.jpg in .* could not be read in 4 attempts"):
        run(model_dir, tmp_path / "out", photos)
    assert run(model_dir, tmp_path / "out", photos)["unreadable"].keys() == {
        "image_missing",
        "image_not_decodable",
    }


def test_files_of_others_are_not_touched(model_dir, photos, tmp_path):
    output = tmp_path / "out"
    others = ("detections/mine.json", "predictions.json", "unreadable/x.jsonl", "progress/a")
    for name in others:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text("mine")
    before = content(output)
    with pytest.raises(DataError, match=r"holds 4 files that this command did not write \(detect"):
        run(model_dir, output, photos / "0.jpg")
    assert content(output) == before
    (output / "predictions.json").unlink()
    assert run(model_dir, output, photos / "0.jpg", overwrite=True)["written"] == 1
    after = content(output)
    assert {name for name in before if name in after} == {*others}
    assert after["detections/mine.json"] == b"mine"
    # What the command wrote itself is no reason to refuse, the others still are.
    with pytest.raises(DataError, match="holds 3 files that"):
        run(model_dir, output, photos / "0.jpg")
    for name in set(others) - {"predictions.json"}:
        (output / name).unlink()
    assert run(model_dir, output, photos / "0.jpg")["written"] == 1


def test_other_images_and_other_settings_are_done_again(model_dir, photos, tmp_path, loaded):
    output = tmp_path / "out"
    (photos / "8.jpg").unlink()
    run(model_dir, output, photos)
    before = content(output)
    (photos / "0.jpg").write_bytes(jpeg(99, 50, seed=0))
    run(model_dir, output, photos)
    after = content(output)
    changed = {name for name in before if before[name] != after[name]}
    shards = {name for name in changed if name.startswith("detections/")}
    assert shards == {
        f"detections/detections-00000-of-00002.{end}" for end in ("jsonl", "tfrecord")
    }
    loaded.clear()
    fewer = run(model_dir, output, photos, score_threshold=0.9999)
    assert loaded
    assert fewer["detections"] == 0
    assert fewer["written"] == 6


def test_records_are_read_too(model_dir, tmp_path):
    records = write_examples(tmp_path / "records")
    done = run(model_dir, tmp_path / "out", records)
    assert done["images"] == done["written"] == 5
    read = lines(tmp_path / "out")
    assert [(row["image_id"], row["image"]) for row in read] == [
        (number, f"{number}.jpg") for number in ("17", "5", "203", "8", "9")
    ]
    shard = records / "Split-val/examples-00001-of-00002.tfrecord"
    data = bytearray(shard.read_bytes())
    data[-20] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"examples-00001-of-00002\.tfrecord: damaged at byte"):
        run(model_dir, tmp_path / "other", records)


def test_a_second_prediction_into_one_output_is_refused(model_dir, photos, tmp_path):
    output = tmp_path / "out"
    refused = pytest.raises(FolderInUseError, match=r"another prediction .*name another output")
    with FolderLock(output, holder="prediction"):
        with refused:
            run(model_dir, output, photos)
        left = [path.name for path in output.iterdir()]
        assert left == ["prediction.lock"]
    (output / left[0]).write_text("left by one that was killed")
    run(model_dir, output, photos, images_per_shard=100)
    assert not (output / left[0]).exists()


def test_one_model_for_all_shards_of_a_process(model_dir, photos, tmp_path, loaded):
    loaded.clear()
    run(model_dir, tmp_path / "out", photos, images_per_shard=1)
    assert len(loaded) == 1


def test_what_cannot_work_is_said_before_the_job(model_dir, photos, tmp_path):
    with pytest.raises(ModelError, match="nowhere is not a model folder"):
        run("nowhere", tmp_path / "out", photos)
    with pytest.raises(DataError, match="cannot be an output folder"):
        run(model_dir, "out*", photos)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/out cannot be written .*name another one"):
        run(model_dir, tmp_path / "file/out", photos)
    options = PredictionOptions(
        model_dir=str(model_dir), images=(str(photos),), decoding={"max_objects": 500}
    )
    with pytest.raises(ConfigError, match="max_objects=500 needs 2500 positions"):
        predict_images(options, str(tmp_path / "out"), make_pipeline=None)
    (tmp_path / "list.txt").write_text("none.jpg")
    with pytest.raises(DataError, match="none of 1 images can be read"):
        run(model_dir, tmp_path / "out", tmp_path / "list.txt")


def test_images_are_read_ahead_of_the_batches_by_a_bounded_number(model_dir, tmp_path, monkeypatch):
    done, most = [], []

    class Detector:
        image_size, batch_size = (64, 64), 2
        category_names: ClassVar = {}

        def prepare(self, encoded, **options):
            return prepare_image(encoded, image_size=self.image_size, **options)

        def detect(self, images):
            done.extend(images)
            return [[] for _ in images]

    started = []
    prepare = predict_shards._prepare

    def counted(image, **settings):
        started.append(image)
        most.append(len(started) - len(done))
        return prepare(image, **settings)

    monkeypatch.setattr(predict_shards, "_prepare", counted)
    options = PredictionOptions(model_dir="", images=("x",), batch_size=2)
    shard = predict_shards.PredictShard(options, output="", model_identity="")
    shard.setup()
    (tmp_path / "a.jpg").write_bytes(jpeg(60, 50, seed=1))
    work = {"files": [[str(tmp_path / "a.jpg"), 0, 0]] * 40}
    found = list(shard._found(work, Detector(), []))
    shard.teardown()
    assert len(found) == len(done) == 40
    assert max(most) <= 2 * 2 + 1 + 2
