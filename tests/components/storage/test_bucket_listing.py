"""What lies in a bucket, as Google's own client lists it from a stand-in."""

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

from components.storage.bucket_listing import bucket_address, list_place
from pix2seq_model.errors import ConfigError, DataError
from tests.fixtures.bucket import listed_bucket

SETTING = "data.finetune.images.train"
OBJECTS = {
    "coco/train/": (0, 1),  # A folder made by hand.
    **{f"coco/train/{n}.jpg": (10 + n, 100 + n) for n in range(5)},
    **{f"coco/train/patch{n}/a.jpg": (7, 200 + n) for n in range(3)},
    "coco/train/patch0/deep/b.jpg": (8, 300),
    "coco/train.zip": (9, 400),
    "coco/train2/c.jpg": (9, 500),
    "coco/train.json": (9, 600),
}


@pytest.fixture
def bucket(monkeypatch):
    with listed_bucket(monkeypatch) as bucket:
        bucket.objects = dict(OBJECTS)
        yield bucket


@pytest.fixture
def listed(bucket):
    client = Client(project=None, credentials=AnonymousCredentials())
    return lambda place: list_place(client, place, SETTING)


def test_a_folder_is_listed_wholly_and_alone(bucket, listed):
    found = listed("gs://data/coco/train/")
    # Those that only begin alike count where they may be parts of a checkpoint.
    assert found.count == 5 + 3 + 1 + 2
    assert found == listed("gs://data/coco/train") == listed("/gcs/data/coco/train")
    del bucket.objects["coco/train2/c.jpg"]
    assert listed("gs://data/coco/train") == found
    assert all("content" not in asked["fields"] for asked in bucket.asked)


@pytest.mark.parametrize("name", ["3.jpg", "patch1/a.jpg", "patch0/deep/b.jpg"])
@pytest.mark.parametrize("changed", [(99, 100), (10, 999), None])
def test_a_changed_object_of_the_same_name_is_noticed(name, changed, bucket, listed):
    before = listed("gs://data/coco/train").digest
    assert listed("gs://data/coco/train").digest == before
    if changed:
        bucket.objects[f"coco/train/{name}"] = changed
    else:
        del bucket.objects[f"coco/train/{name}"]
    assert listed("gs://data/coco/train").digest != before


def test_one_file(bucket, listed):
    found = listed("gs://data/coco/train.json")
    assert found.count == 1
    bucket.objects["coco/train.json"] = (9, 601)
    assert listed("gs://data/coco/train.json") != found


def test_the_files_of_a_checkpoint_and_no_others(bucket, listed):
    bucket.objects = {f"m/ckpt-1{end}": (1, 1) for end in (".index", ".data-00000", "0.index")}
    assert listed("gs://data/m/ckpt-1").count == 2


def test_a_whole_bucket(listed):
    assert listed("gs://data").count == len(OBJECTS) - 1


def test_what_is_not_there_is_named(listed):
    with pytest.raises(DataError, match=f"{SETTING}=gs://data/coco/non: there is nothing"):
        listed("gs://data/coco/non")
    with pytest.raises(ConfigError, match=f"{SETTING}=/home/me: .*give a gs:// address"):
        listed("/home/me")


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ((403, "no storage.objects.list"), r"no storage\.objects\.list.*objectViewer on gs://data"),
        ((404, "The specified bucket does not exist."), "there is no bucket gs://data"),
    ],
)
def test_why_it_cannot_be_listed(refusal, message, bucket, listed):
    bucket.refuses = refusal
    with pytest.raises(DataError, match=f"^{SETTING}=gs://data/coco.*{message}"):
        listed("gs://data/coco")


def test_addresses():
    assert bucket_address("/gcs/b/c") == "gs://b/c"
    assert bucket_address("gs://b/c") == "gs://b/c"
    assert bucket_address("s3://b/c") == bucket_address("/home/b") == ""
