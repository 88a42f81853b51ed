"""Folders in a bucket are listed once, and files meet the rows that may mean them."""

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from components.conversion import list_images
from components.conversion.batches import unpack
from components.conversion.list_images import ListImages, is_listed, name_key
from components.conversion.options import SplitSource
from components.storage.image_names import NameIndex, match_name
from tests.fixtures.served_bucket import served_bucket
from tests.fixtures.small_dataset import options

PLACE = "gs://data/images"


@pytest.fixture
def store(monkeypatch):
    with served_bucket(monkeypatch) as store:
        yield store


def listed(*places):
    """Paths by place, and what files have in common, as the steps of the job give them."""
    found, tops, left = {}, {}, []
    outputs = [output for place in places for output in list_images._list_top(place)]
    while outputs:
        output = outputs.pop()
        if not isinstance(output, beam.pvalue.TaggedOutput):
            key, batch = output
            for place, path, _, _ in unpack(batch)[1]:
                assert key == name_key(path)
                found.setdefault(place, []).append(path)
        elif output.tag == "tops":
            tops.setdefault(output.value[0], []).append(output.value[1])
        else:
            left.append(output.value[1])
            outputs += list_images._list_below(output.value)
    return found, {p: list_images._shortest(t) for p, t in tops.items()}, sorted(left)


def test_a_flat_folder_takes_a_request_for_a_thousand(store):
    for number in range(2001):
        store.put(f"data/images/{number}.jpg", b"1")
    found, tops, left = listed(PLACE)
    assert (len(found[PLACE]), tops, left) == (2001, {PLACE: ""}, [])
    assert store.asked == {"list": 3}


def test_many_folders_are_listed_one_by_one_and_each_file_once(store):
    names = [f"v1/train/patch{n}/{n}.jpg" for n in range(9)]
    names += ["v1/list.txt", "v1/train/x.jpg", "v1/train/patch3/deep/y.jpg"]
    for name in names:
        store.put(f"data/images/{name}", b"1")
    found, tops, left = listed(PLACE)
    assert sorted(found[PLACE]) == sorted(names)
    assert tops == {PLACE: "v1/"}
    assert left == [f"{PLACE}/v1/train/patch{n}/" for n in range(9)]
    assert store.asked == {"list": 3 + 9}


def test_too_many_folders_are_listed_together(store, monkeypatch):
    monkeypatch.setattr(list_images, "_MOST_FOLDERS", 10)
    names = [f"{n}/image.jpg" for n in range(11)] + ["top.jpg"]
    for name in names:
        store.put(f"data/images/{name}", b"1")
    found, _, left = listed(PLACE)
    assert sorted(found[PLACE]) == sorted(names)
    assert left == [f"{PLACE}/"]


def test_slashes_side_by_side_are_a_folder_like_others(store):
    names = ["images//a.jpg", "images/b.jpg", "images//deep//c.jpg"]
    for name in names:
        store.put(f"data/{name}", b"1")
    found, _, left = listed(PLACE)
    assert sorted(f"images/{path}" for path in found[PLACE]) == sorted(names)
    assert left == []
    assert store.asked == {"list": 4}


def test_only_folders_in_a_bucket_are_listed():
    assert not is_listed("hdfs://data/images")
    assert is_listed("gs://data/images")
    assert not is_listed("gs://data/images.zip")
    assert not is_listed("/data/images")


def test_splits_of_one_folder_list_it_once(store):
    for number in range(3):
        store.put(f"data/images/{number}.jpg", b"1")
    sources = {"train": PLACE, "val": f"{PLACE}/", "test": "/data/images"}
    splits = {split: SplitSource(images=i, annotations="") for split, i in sources.items()}
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        found = pipeline | ListImages(options(splits))
        paths = found["files"] | beam.FlatMap(lambda e: [row[:2] for row in unpack(e[1])[1]])
        assert_that(paths, equal_to([[PLACE, f"{n}.jpg"] for n in range(3)]), "files")
        assert_that(found["tops"], equal_to([(PLACE, "")]), "tops")
    assert store.asked == {"list": 1}


_PIECES = [*"aB1 _-.%\\é", "e\u0301", "0badcafe-", "d00df00d-", ".jpg", "%20"]
_PART = st.lists(st.sampled_from(_PIECES), min_size=1, max_size=5).map("".join)


@given(st.lists(_PART, min_size=1, max_size=3), st.lists(_PART, min_size=1, max_size=3))
def test_a_row_meets_each_file_that_it_could_get(row, file):
    file_name, path = "/".join(row), "/".join(file)
    if match_name(file_name, NameIndex([path])).path:
        assert name_key(file_name) == name_key(path)


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ("a.jpg", "images/A.JPG"),
        ("http://x/Z%C3%BCrich.jpg?size=3", "Zu\u0308rich.jpg"),
        ("11111111-22222222-img.png", "img.png"),
        ("11111111-img.png", "img.png"),
        ("C:\\x\\a b.jpg", "a b.jpg"),
    ],
)
def test_spellings_that_meet(row, path):
    assert match_name(row, NameIndex([path])).path == path
    assert name_key(row) == name_key(path)
