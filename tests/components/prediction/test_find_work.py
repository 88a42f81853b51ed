"""Images are found in every form that a person names them in, in one order, in shards."""

import json
import zipfile

import pytest

from components.prediction import predict_shards
from components.prediction.find_work import find_work
from components.prediction.options import PredictionOptions
from pix2seq_model.data.folder_walk import HIDDEN, WRITTEN
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.prediction.image_sources import EndingFilter, left_out_text
from tests.fixtures import photo_tree
from tests.fixtures.evaluated_model import write_examples
from tests.fixtures.object_store import ObjectStore
from tests.fixtures.served_bucket import served_bucket


def work(*images, **fields):
    options = PredictionOptions(model_dir="model", images=tuple(map(str, images)), **fields)
    return list(find_work(options))


def paths(shards):
    return [[row[0] for row in shard["files"]] for shard in shards]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "a [b]"
    (folder / "deep").mkdir(parents=True)
    for name in ("2.jpg", "10.PNG", "deep/1.gif", "notes.md"):
        (folder / name).write_bytes(b"12345")
    return folder


def test_a_folder_to_the_bottom_in_shards(photos):
    shards = work(photos, images_per_shard=2)
    names = [f"{photos}/{name}" for name in ("10.PNG", "2.jpg", "deep/1.gif")]
    assert paths(shards) == [names[:2], names[2:]]
    _, size, version = shards[0]["files"][0]
    assert size == 5
    assert version == int((photos / "10.PNG").stat().st_mtime * 1000)


def test_files_with_other_endings_are_counted(photos):
    (photos / "deep/IMG.HEIC").write_bytes(b"x")
    options, endings = PredictionOptions(model_dir="model", images=(str(photos),)), EndingFilter()
    assert len(list(find_work(options, endings=endings))) == 1
    assert endings.left_out == {".heic": 1, ".md": 1}


def test_patterns_files_and_lists(photos, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("components.prediction.find_work.check_reachable", asked.append)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("b.jpg", "a.jpg", "c.png"):
        (plain / name).write_bytes(b"")
    (tmp_path / "list.txt").write_text("plain/b.jpg\n\n/else/where.jpg\r\ngs://bucket/x.jpg\n")
    assert paths(work(f"{plain}/*.jpg")) == [[f"{plain}/a.jpg", f"{plain}/b.jpg"]]
    assert paths(work(photos / "2.jpg")) == [[f"{photos}/2.jpg"]]
    listed = work(tmp_path / "list.txt")
    assert paths(listed) == [[f"{tmp_path}/plain/b.jpg", "/else/where.jpg", "gs://bucket/x.jpg"]]
    # The files in a list are not looked at until they are read.
    assert listed[0]["files"][0][1:] == [-1, -1]
    # Only whether there is a network: else each image would be waited for.
    assert asked == ["gs://bucket/x.jpg"]


def test_a_shard_of_records_is_a_shard(photos, tmp_path):
    records = write_examples(tmp_path / "records")
    shards = work(photos / "2.jpg", records, photos / "deep")
    assert paths([shards[0], shards[3]]) == [[f"{photos}/2.jpg"], [f"{photos}/deep/1.gif"]]
    assert [shard["shard"]["num_examples"] for shard in shards[1:3]] == [2, 3]
    assert shards[1]["records"] == f"{records}/Split-val/examples-00000-of-00002.tfrecord"
    assert len(work(records, splits=("val",))) == 2
    with pytest.raises(DataError, match="train"):
        work(records, splits=("train",))


def _relabel(records):
    path = records / "dataset_info.json"
    manifest = json.loads(path.read_text())
    manifest["categories"] = [row for row in manifest["categories"] if row["id"] != 3]
    path.write_text(json.dumps(manifest))


def _relabel_counted(records):
    """In a bucket the counts are compared: there no record is looked at."""
    _relabel(records)
    counted = {"val": {"images_with_class": {"2": 2, "3": 3}}}
    (records / "statistics.json").write_text(json.dumps(counted))


def _alter(records):
    path = records / "Split-val/examples-00000-of-00002.tfrecord"
    content = path.read_bytes()
    path.write_bytes(content[:-20] + b"x" + content[-19:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_relabel, "record 0: the label 3 is none of the categories of dataset_info.json"),
        (_relabel_counted, "objects of the label 3, which is none of the categories"),
        (_alter, "00000-of-00002.tfrecord"),
    ],
)
def test_records_that_are_not_what_the_manifest_says_are_refused(tmp_path, change, message):
    """As training and evaluation refuse them: tests/pix2seq_model/data/test_shard_check.py."""

    def read():
        return [image.image for shard in work(records) for image in predict_shards._images(shard)]

    records = write_examples(tmp_path / "records")
    assert len(read()) == 5
    change(records)
    with pytest.raises(DataError, match=message):
        read()


def test_what_is_not_there_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe")
    for place, message in (
        (tmp_path / "none", "no such file or folder"),
        (tmp_path / "empty", "no image found"),
        (tmp_path / "*.jpg", "no file is called so"),
        (tmp_path / "more.tar", "is an archive: unpack it first"),
        (tmp_path / "more.zip", "no such file or folder"),
        (tmp_path / "list.txt", "line 1: not text"),
    ):
        with pytest.raises(DataError, match=message):
            work(place)
    with pytest.raises(ConfigError, match="no images to predict on"):
        work()
    with pytest.raises(ConfigError, match="batch_size=0 must be at least 1"):
        work("x", batch_size=0)


def test_the_images_of_an_archive(tmp_path):
    place = tmp_path / "more.ZIP"
    with zipfile.ZipFile(place, "w") as archive:
        for name in ("b.jpg", "deep/a.png", "__MACOSX/b.jpg", ".hidden/c.jpg", "notes.md"):
            archive.writestr(name, b"12345")
    endings = EndingFilter()
    options = PredictionOptions(model_dir="model", images=(str(place),))
    (shard,) = list(find_work(options, endings=endings))
    assert paths([shard]) == [[f"{place}/b.jpg", f"{place}/deep/a.png"]]
    assert {row[3] for row in shard["files"]} == {str(place)}
    assert +endings.left_out == {".md": 1, HIDDEN: 2}
    place.write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"more\.ZIP: not a zip archive that can be read"):
        work(place)


@pytest.fixture(params=["here", "gs://", "objects://"])
def tree(request, tmp_path, monkeypatch):
    """One folder, of this machine and in two kinds of stores."""
    if request.param == "here":
        yield str(photo_tree.write_tree(tmp_path / "photos"))
    elif request.param == "gs://":
        with served_bucket(monkeypatch) as store:
            for name, content in photo_tree.FILES.items():
                store.put(f"data/photos/{name}", content)
            yield "gs://data/photos"
    else:
        place = f"objects://{tmp_path.name}/photos"
        for name, content in photo_tree.FILES.items():
            with ObjectStore(None).create(f"{place}/{name}") as file:
                file.write(content)
        yield place


def found_in(place, folder):
    endings = EndingFilter(output=f"{folder}/found")
    options = PredictionOptions(model_dir="model", images=(place,))
    shards = paths(find_work(options, endings=endings))
    return [p.removeprefix(f"{folder}/") for shard in shards for p in shard], +endings.left_out


def test_the_same_is_left_out_everywhere(tree):
    found, left_out = found_in(tree, tree)
    assert sorted(found) == photo_tree.IMAGES
    assert left_out == photo_tree.LEFT_OUT
    for pattern, (images, left_out) in photo_tree.PATTERNS.items():
        if images:
            assert found_in(f"{tree}/{pattern}", tree) == (images, left_out), pattern
            continue
        with pytest.raises(DataError, match=f"no file is called so.*{left_out_text(left_out)}"):
            found_in(f"{tree}/{pattern}", tree)


def test_an_archive_of_results(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in photo_tree.FILES.items():
            archive.writestr(name, content)
    for place in (tmp_path / "x.zip", tmp_path / "*.zip"):
        found, left_out = found_in(str(place), tmp_path)
        expected = sorted([*photo_tree.IMAGES, "found/pictures/g.jpg.jpg"])
        assert found == [f"x.zip/{name}" for name in expected]
        assert left_out == photo_tree.LEFT_OUT | {WRITTEN: 3}
