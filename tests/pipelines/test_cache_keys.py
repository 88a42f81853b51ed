"""What makes a stage run again, and what does not."""

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from pipelines import cache_keys
from pix2seq_model.errors import DataError
from pix2seq_model.experiment import load_config

PROJECT = Path(__file__).parents[2]


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
    local = digest(source)
    digests = []
    for images in ("gs://bucket/images", "gs://bucket/images", "gs://bucket/others"):
        source.images.train = images
        digests.append(digest(source))
    assert digests[0] == digests[1]
    assert len({local, *digests}) == 3


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
    assert cache_keys.settings_digest(one, ["finetune"], in_run=True) == cache_keys.settings_digest(
        two, ["finetune"], in_run=True
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_keys, "_PROJECT_ROOT", tmp_path)
    for folder in ("components", "pix2seq_model/pages"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pix2seq_model" / "__init__.py").write_text("")
    (tmp_path / "pix2seq_model" / "pages" / "page.html").write_text("<p>")
    (tmp_path / "components" / "stage.py").write_text("from pix2seq_model.near import f\n")
    (tmp_path / "pix2seq_model" / "near.py").write_text(
        "def f():\n    from pix2seq_model import far, progress\n    return far\n"
    )
    (tmp_path / "pix2seq_model" / "far.py").write_text("X = 1\n")
    (tmp_path / "pix2seq_model" / "unrelated.py").write_text("X = 1\n")
    (tmp_path / "pix2seq_model" / "progress.py").write_text("import pix2seq_model.shown\n")
    (tmp_path / "pix2seq_model" / "shown.py").write_text("X = 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "code", "same"),
    [
        ("components/stage.py", "from pix2seq_model.near import f\nf()\n", False),
        ("pix2seq_model/far.py", "X = 2\n", False),
        ("pix2seq_model/unrelated.py", "X = 2\n", True),
        ("pix2seq_model/far.py", '"""What it is."""\n\nX = 1  # one\n', True),
        ("pix2seq_model/pages/page.html", "<b>", False),
        ("pix2seq_model/progress.py", "import pix2seq_model.shown\nX = 2\n", True),
        ("pix2seq_model/shown.py", "X = 2\n", True),
    ],
)
def test_code_counts_by_what_it_does(project, file, code, same):
    before = cache_keys.code_digest("components.stage")
    (project / file).write_text(textwrap.dedent(code))
    assert (cache_keys.code_digest("components.stage") == before) is same


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the code."""
    folder = tmp_path_factory.mktemp("tree")
    for package in ("components", "pix2seq_model"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / package, folder / package, ignore=ignored)
    return folder


def keys() -> dict[str, str]:
    """The code's part in the key of every stage, and in the folder a training continues in."""

    def weights(*, best_by_evaluation: bool) -> str:
        return cache_keys.weights_digest(
            "components.trainer_module", best_by_evaluation=best_by_evaluation
        )

    return {
        "conversion": cache_keys.code_digest("components.example_gen"),
        "training": cache_keys.code_digest("components.trainer_module"),
        "weights": weights(best_by_evaluation=False),
        "best weights": weights(best_by_evaluation=True),
        "detection": cache_keys.code_digest("components.coco_evaluator"),
        "report": cache_keys.code_digest("components.evaluation_report", without=()),
        "data report": cache_keys.code_digest("components.data_report", without=()),
    }


TRAINING = {"training", "weights", "best weights"}
REPORTS = {"report", "data report"}


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("tokens/vocabulary.py", {*TRAINING, "detection", *REPORTS}),
        ("tokens/sequences.py", {*TRAINING, "detection"}),
        ("network/transformer.py", {*TRAINING, "detection"}),
        ("input_pipeline/augmentation.py", {*TRAINING, "detection"}),
        ("data/records.py", {"conversion", *TRAINING, "detection", *REPORTS}),
        ("data/annotations.py", {"conversion", "detection"}),
        ("training/optimizer.py", TRAINING),
        ("training/loop.py", TRAINING),
        ("training/interval_log.py", {"training"}),
        ("model_folder/saved_model.py", {"training"}),
        ("training/notes.py", {"training"}),
        ("json_file.py", {"conversion", "training", "detection", *REPORTS}),
        ("decoding/generate.py", {"training", "best weights", "detection"}),
        ("metrics/coco_metrics.py", {"training", "best weights", "detection", "report"}),
        ("reports/charts.py", REPORTS),
        ("reports/templates/report.html", REPORTS),
        ("reports/evaluation_sections.py", {"report"}),
        ("reports/data_pictures.py", {"data report"}),
        ("training/pictures.py", set()),
        ("training/tensorboard.py", set()),
        ("training/loggers.py", set()),
        ("training/mlflow_tracker.py", set()),
        ("training/stall_watch.py", set()),
        ("progress.py", set()),
        ("web_demo/server.py", set()),
    ],
)
def test_a_change_counts_where_it_decides_an_outcome(file, changed, tree, monkeypatch):
    monkeypatch.setattr(cache_keys, "_PROJECT_ROOT", tree)
    path = tree / "pix2seq_model" / file
    content, before = path.read_text(), keys()
    try:
        path.write_text(f"{content}\nCHANGED_VALUE = 1\n")
        after = keys()
    finally:
        path.write_text(content)
    assert {name for name in before if before[name] != after[name]} == changed


def test_every_module_that_is_left_out_exists():
    for name in (*cache_keys.ONLY_SHOW, *cache_keys._MEASURING, *cache_keys._NOT_IN_WEIGHTS):
        assert cache_keys._module_path(name), name


@pytest.mark.parametrize("package", ["components", "pix2seq_model"])
def test_packages_hold_no_code_of_their_own(package):
    """It would be in the key of every stage; `experiment` gives its `load_config` alone."""
    for path in (PROJECT / package).rglob("__init__.py"):
        code = path.read_text().split('"""')[2].strip()
        assert not code or path.parent.name in ("experiment", "pix2seq_model"), path


def test_what_python_offers_is_in_no_key():
    """The package names its interface as text: nothing that the interface needs counts."""
    _, imported = cache_keys._parsed((PROJECT / "pix2seq_model/__init__.py").read_text())
    assert imported == ("importlib",)
    package = {path.name for path in cache_keys._files_of_package(PROJECT / "pix2seq_model")}
    assert not package & {"__init__.pyi", "py.typed"}


@pytest.mark.parametrize(
    ("variable", "written", "backend"),
    [
        (None, None, "tensorflow"),
        (None, '{"backend": "jax"}', "jax"),
        ("", '{"backend": "jax"}', "jax"),
        ("tensorflow", '{"backend": "jax"}', "tensorflow"),
        ("jax", None, "jax"),
        (None, "{", "tensorflow"),
    ],
)
def test_the_backend_is_the_one_keras_takes(variable, written, backend, tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if variable is not None:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    # In KERAS_HOME, and without it below the home folder.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in ("keras", "home/.keras"):
        (tmp_path / folder).mkdir(parents=True)
        if written is not None:
            (tmp_path / folder / "keras.json").write_text(written)
    assert cache_keys.keras_backend() == backend
    monkeypatch.delenv("KERAS_HOME")
    assert cache_keys.keras_backend() == backend


def test_keras_itself_takes_the_same_backend(tmp_path, monkeypatch):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "numpy"}))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    program = "from keras.src.backend import config; print(config.backend())"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert said.stdout.strip() == cache_keys.keras_backend() == "numpy"


def test_versions_of_packages(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(cache_keys, "_version", {"keras": "3", "jax": "1", "jaxlib": "2"}.get)
    text = cache_keys.package_versions("keras", "pillow")
    assert text == "jax 1, jaxlib 2, keras 3, numpy None, pillow None, tensorflow None"
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert "jax" not in cache_keys.package_versions("keras")
    monkeypatch.undo()
    assert cache_keys.package_versions("no-such-package") == "no-such-package absent"


def test_model_digest(tmp_path):
    with pytest.raises(DataError, match=r"finetune\.start_from=.* is no model"):
        cache_keys.model_digest(str(tmp_path), "finetune.start_from")
    (tmp_path / "model.json").write_text("{}")
    one = cache_keys.model_digest(str(tmp_path), "finetune.start_from")
    (tmp_path / "model.json").write_text("{ }")
    assert cache_keys.model_digest(str(tmp_path), "finetune.start_from") != one


def test_a_changed_annotation_file_is_another_truth(tmp_path):
    file, name = tmp_path / "val.json", "evaluation.ground_truth"
    with pytest.raises(DataError, match=r"evaluation\.ground_truth=.*there is no such file"):
        cache_keys.file_digest(str(file), name)
    file.write_text("{}")
    before = cache_keys.file_digest(str(file), name)
    file.write_text("[]")
    assert cache_keys.file_digest(str(file), name) != before
    # One elsewhere counts by its name.
    assert cache_keys.file_digest("gs://bucket/val.json", name)  # By name: nothing is asked.


def test_a_length_counts_by_its_steps():
    config = load_config("configs/demo.py")
    before = cache_keys.settings_digest(config, ["finetune"])
    with config.unlocked():
        config.finetune.epochs = 3
    assert cache_keys.settings_digest(config, ["finetune"]) == before
    config.finetune.steps += 1
    assert cache_keys.settings_digest(config, ["finetune"]) != before


def test_what_is_missing_of_the_demonstration_says_how_it_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"demo-data`\), with --output=demo/data; or give your own"):
        cache_keys.file_digest("demo/data/coco/x.json", "data.finetune.annotations.train")
    with pytest.raises(DataError, match=rf"there is no such file in {tmp_path}\. Give the place"):
        cache_keys.file_digest("x.json", "evaluation.ground_truth")
