"""What makes a stage run again, and what does not."""

import textwrap

import pytest
from ml_collections import ConfigDict

from pipelines import cache_keys
from pix2seq_model.errors import DataError
from pix2seq_model.experiment import load_config


@pytest.fixture
def source(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"aa")
    (tmp_path / "train.json").write_text("{}")
    places = {"train": str(tmp_path / "images"), "val": ""}
    return ConfigDict(
        {"images": places, "annotations": {"train": str(tmp_path / "train.json"), "val": ""}}
    )


@pytest.fixture(autouse=True)
def _forget():
    cache_keys._places_digest.cache_clear()


def digest(source):
    cache_keys._places_digest.cache_clear()
    return cache_keys.source_digest(source, "data.pretrain")


def test_a_fresh_copy_of_the_same_data_is_known_again(source, tmp_path):
    before = digest(source)
    image = tmp_path / "images" / "a.jpg"
    image.unlink()
    image.write_bytes(b"aa")
    assert digest(source) == before


@pytest.mark.parametrize(
    ("file", "content"), [("images/a.jpg", b"ab"), ("images/b.jpg", b""), ("train.json", b"[]")]
)
def test_changed_data_are_noticed(source, tmp_path, file, content):
    before = digest(source)
    (tmp_path / file).write_bytes(content)
    assert digest(source) != before


def test_large_files_count_by_size_and_time(source, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_keys, "_READ_FOLDER_BYTES", 1)
    monkeypatch.setattr(cache_keys, "_READ_WHOLE_BYTES", 1)
    before = digest(source)
    (tmp_path / "images" / "a.jpg").write_bytes(b"aaa")
    assert digest(source) != before


def test_missing_places_are_named(source, tmp_path):
    source.annotations.train = str(tmp_path / "no.json")
    with pytest.raises(DataError, match=r"data\.pretrain\.annotations\.train=.*no\.json"):
        digest(source)
    source.annotations.train = str(tmp_path / "train.json")
    source.images.train = str(tmp_path / "none")
    with pytest.raises(DataError, match=r"data\.pretrain\.images\.train=.*none.*folder"):
        digest(source)


def test_buckets_count_by_name(source):
    source.images.train = "gs://bucket/images"
    source.annotations.train = "gs://bucket/train.json"
    assert digest(source) == digest(source)


def test_evaluation_does_not_touch_training():
    sections = ["seed", "vocabulary", "model", "finetune"]
    one = load_config("configs/demo.py")
    two = load_config("configs/demo.py", ["evaluation.min_metrics.AP=0.1"])
    three = load_config("configs/demo.py", ["finetune.learning_rate=0.5"])
    digests = [cache_keys.settings_digest(config, sections) for config in (one, two, three)]
    assert digests[0] == digests[1] != digests[2]


def test_how_training_is_watched_does_not_change_where_it_works():
    one = load_config("configs/demo.py")
    two = load_config("configs/demo.py", ["finetune.steps_per_log=1"])
    assert cache_keys.settings_digest(one, ["finetune"]) != cache_keys.settings_digest(
        two, ["finetune"]
    )
    assert cache_keys.settings_digest(
        one, ["finetune"], watching=False
    ) == cache_keys.settings_digest(two, ["finetune"], watching=False)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_keys, "_PROJECT_ROOT", tmp_path)
    (tmp_path / "components").mkdir()
    (tmp_path / "pix2seq_model").mkdir()
    (tmp_path / "pix2seq_model" / "__init__.py").write_text("")
    (tmp_path / "components" / "stage.py").write_text("from pix2seq_model.near import f\n")
    (tmp_path / "pix2seq_model" / "near.py").write_text(
        "def f():\n    from pix2seq_model import far\n    return far\n"
    )
    (tmp_path / "pix2seq_model" / "far.py").write_text("X = 1\n")
    (tmp_path / "pix2seq_model" / "unrelated.py").write_text("X = 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "code", "same"),
    [
        ("components/stage.py", "from pix2seq_model.near import f\nf()\n", False),
        ("pix2seq_model/far.py", "X = 2\n", False),
        ("pix2seq_model/unrelated.py", "X = 2\n", True),
        ("pix2seq_model/far.py", '"""What it is."""\n\nX = 1  # one\n', True),
    ],
)
def test_code_counts_by_what_it_does(project, file, code, same):
    before = cache_keys.code_digest("components.stage")
    (project / file).write_text(textwrap.dedent(code))
    assert (cache_keys.code_digest("components.stage") == before) is same


def test_model_digest(tmp_path):
    with pytest.raises(DataError, match=r"finetune\.start_from=.* is no model"):
        cache_keys.model_digest(str(tmp_path), "finetune.start_from")
    (tmp_path / "model.json").write_text("{}")
    one = cache_keys.model_digest(str(tmp_path), "finetune.start_from")
    (tmp_path / "model.json").write_text("{ }")
    assert cache_keys.model_digest(str(tmp_path), "finetune.start_from") != one
