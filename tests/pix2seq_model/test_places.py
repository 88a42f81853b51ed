"""One function reads every place that a person gives."""

import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config
from pix2seq_model.places import read_place, read_places


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_place(home):
    assert read_place("~/photos", "--images") == f"{home}/photos"
    assert read_place("~", "--images") == str(home)
    assert read_place("photos/~", "--images") == "photos/~"
    assert read_place("file:///data/x", "--images") == "/data/x"
    assert read_place("gs://bucket/a b", "--images") == "gs://bucket/a b"
    assert read_place("GS://bucket/x", "--images") == "gs://bucket/x"
    assert read_place("", "--images") == ""


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://bucket/x", "--images=s3://bucket/x: addresses s3:// cannot be read or written"),
        ("https://example.org/x.zip", "copy what lies there to this machine"),
        ("file://host/x", "addresses file:// cannot"),
        ("gs://", "--images=gs:// names no bucket"),
    ],
)
def test_addresses_that_nothing_reads_are_refused(place, message):
    with pytest.raises(ConfigError) as caught:
        read_place(place, "--images")
    assert message in str(caught.value)


def test_commas_belong_to_paths_that_are_there(home):
    (home / "a,b").mkdir()
    (home / "plain").mkdir()
    assert read_places(f"{home}/a,b", "--images") == [f"{home}/a,b"]
    assert read_places(f"~/plain,{home}/a,b,gs://x/y", "--images") == [
        *(f"{home}/plain", f"{home}/a,b", "gs://x/y")
    ]
    assert read_places("train=~/a,b,val=~/plain", "--images") == [
        *(f"train={home}/a,b", f"val={home}/plain")
    ]
    assert read_places("one, two", "--images") == ["one", "two"]
    assert read_places('"n,o",p', "--images") == ["n,o", "p"]
    assert read_places("", "--images") == []
    with pytest.raises(ConfigError, match="a quoted path ends"):
        read_places('"n,o"x', "--images")


def test_places_of_a_config(home):
    config = load_config(
        "configs/coco_finetune.py:vit_b,640",
        [
            "data.finetune.images.train=~/photos",
            "data.finetune.annotations.val=~/val.json",
            "finetune.start_from=~/model",
            "push.destination=~/pushed",
            "logging.mlflow_tracking_uri=~/ml",
        ],
    )
    assert config.data.finetune.images.train == f"{home}/photos"
    assert config.evaluation.ground_truth == f"{home}/val.json"
    assert config.finetune.start_from == f"{home}/model"
    assert config.push.destination == f"{home}/pushed"
    assert config.logging.mlflow_tracking_uri == f"{home}/ml"
    with pytest.raises(ConfigError, match=r"finetune.start_from=s3://x/y: addresses s3://"):
        load_config("configs/demo.py", ["finetune.start_from=s3://x/y"])


@pytest.mark.parametrize("address", ["http://ml.example:5000", "sqlite:///ml.db", "databricks"])
def test_addresses_that_mlflow_reads_stay(address):
    given = [f"logging.mlflow_tracking_uri={address}"]
    assert load_config("configs/demo.py", given).logging.mlflow_tracking_uri == address


@pytest.mark.parametrize("text", ["photos,", ",photos", "a,,b", ","])
def test_a_comma_without_a_place_is_refused(home, text):
    with pytest.raises(ConfigError, match="a comma has nothing before or behind it"):
        read_places(text, "--images")
