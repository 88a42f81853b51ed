"""The step that says what lies in a bucket now, as Vertex AI runs it."""

import json

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import standard_artifacts

from components.data_version import Executor
from pix2seq_model.errors import ConfigError, DataError, UserError
from tests.fixtures.bucket import listed_bucket
from tests.fixtures.tiny_config import pipeline_config

DATA = pipeline_config("gs://data").data.finetune.to_dict()


@pytest.fixture
def bucket(monkeypatch):
    with listed_bucket(monkeypatch) as bucket:
        bucket.objects = {
            **{f"coco/{split}2017/{n}.jpg": (9, n) for split in ("train", "val") for n in range(3)},
            **{f"coco/annotations/instances_{s}2017.json": (9, 1) for s in ("train", "val")},
        }
        yield bucket


@pytest.fixture
def version(bucket, tmp_path):
    del bucket
    number = iter(range(99))

    def version(source=DATA, section="data.finetune", given="", data_version="", run="run-1"):
        name = f"FinetuneDataVersion_{next(number)}"
        folder = tmp_path / run / name
        folder.mkdir(parents=True)
        artifact = standard_artifacts.String()
        artifact.uri = str(folder / "version")
        properties = {
            "source": json.dumps(source),
            "section": section,
            "given": given,
            "data_version": data_version,
        }
        context = BaseExecutor.Context(tmp_dir=str(tmp_path / run), unique_id=name)
        Executor(context).Do({}, {"version": [artifact]}, properties)
        return artifact.read()

    return version


def test_the_same_listing_is_the_same_version(version, bucket, capsys):
    first = version()
    assert version() == first
    said = capsys.readouterr().out
    assert "data.finetune.images.train=gs://data/coco/train2017 holds objects: 3" in said
    bucket.objects["other/place"] = (1, 1)
    assert version() == first


@pytest.mark.parametrize("name", ["coco/val2017/2.jpg", "coco/annotations/instances_val2017.json"])
def test_another_generation_under_the_same_name_is_another_version(name, version, bucket):
    first = version()
    bucket.objects[name] = (9, 77)
    assert version() != first


def test_what_a_submission_sets_counts(version, bucket):
    bucket.objects |= {"new/a.jpg": (9, 1)}
    given = "data.finetune.images.train=gs://data/new"
    versions = [version(), version(given=given), version(data_version="2")]
    assert len({*versions}) == 3
    bucket.objects |= {"coco/train2017/0.jpg": (9, 55)}
    assert version(given=given) == versions[1]  # It is not read then.


def test_single_places(version, bucket):
    truth = {"ground_truth": "gs://data/coco/annotations/instances_val2017.json"}
    evaluation = {"source": truth, "section": "evaluation"}
    first = version(**evaluation)
    assert version(**evaluation, given="evaluation.top_k=1") == first
    other = "evaluation.ground_truth=gs://data/coco/annotations/instances_train2017.json"
    assert version(**evaluation, given=other) != first
    bucket.objects["coco/annotations/instances_val2017.json"] = (9, 2)
    assert version(**evaluation) != first


def test_what_is_missing_is_named_and_not_asked_again_in_this_run(version, bucket):
    gone = {name: bucket.objects.pop(name) for name in [*bucket.objects] if "val2017/" in name}
    with pytest.raises(DataError, match=r"data\.finetune\.images\.val=.*there is nothing"):
        version()
    bucket.objects |= gone
    with pytest.raises(UserError, match="so it was not tried again"):
        version()
    assert version(run="run-2")


def test_what_names_no_place_is_refused(version):
    with pytest.raises(ConfigError, match="names no place of this data set"):
        version(given="finetune.steps=3")


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch):
    client = storage.Client

    def anonymous(project):
        return client(project=project, credentials=AnonymousCredentials())

    monkeypatch.setattr(storage, "Client", anonymous)
