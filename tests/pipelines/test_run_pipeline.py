"""The whole pipeline on a few images: what it leaves, what the cache gives, how it fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import cache_keys
from pipelines.run_pipeline import split_overrides
from pix2seq_model.data.manifest import STATISTICS_FILE
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.validation import model_config, vocabulary
from pix2seq_model.network.pix2seq import build_model
from tests.fixtures import published_layout, tiny_pipeline
from tests.fixtures.tiny_pipeline import run

PROJECT = Path(__file__).parents[2]
NODES = (
    *("FinetuneExamples", "PretrainExamples", "Pretrain", "Finetune"),
    *("CocoEvaluator", "ModelPusher"),
    *("PretrainDataReport", "FinetuneDataReport", "EvaluationReport"),
)
SECRET_VARIABLES = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "SLACK_TOKEN", "OPENAI_API_KEY"),
    *("TWINE_PASSWORD", "NPM_TOKEN", "AZURE_STORAGE_KEY", "HF_TOKEN", "WANDB_API_KEY"),
)
PLANTED = "planted-in-the-environment"
EVALUATED = {"CocoEvaluator", "EvaluationReport", "ModelPusher"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_pipeline.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def config(data, tmp_path_factory):
    return tiny_pipeline.write_config(tmp_path_factory.mktemp("config") / "tiny.py", data)


@pytest.fixture(scope="module")
def first_run(config, tmp_path_factory):
    """A pipeline root in which the pipeline ran once, and what it printed."""
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        for name in SECRET_VARIABLES:
            patch.setenv(name, f"{PLANTED}-{name}")
        return root, run(f"--config={config}", f"--pipeline_root={root}")


def read_summary(root: Path) -> dict:
    return json.loads((root / "summary.json").read_text())


def ran(root: Path) -> set[str]:
    """The nodes that did not come from the cache."""
    return {stage["node"] for stage in read_summary(root)["stages"] if not stage["cached"]}


def weights(root: Path) -> str:
    model = Path(read_summary(root)["model"]) / "model.json"
    return json.loads(model.read_text())["weights_sha256"]


def test_no_secret_of_the_environment_is_written_anywhere(first_run):
    root, ended = first_run
    holding = [
        path.relative_to(root)
        for path in root.rglob("*")
        if path.is_file() and PLANTED.encode() in path.read_bytes()
    ]
    assert holding == []
    assert PLANTED not in ended.out + ended.err


def test_the_whole_pipeline(first_run):
    root, ended = first_run
    assert ended.status == 0, ended.err
    assert ran(root) == set(NODES)
    summary = read_summary(root)
    assert summary["blessing"]["blessed"]
    assert summary["data"]["finetune"]["splits"]["val"]["images"] == 8
    assert summary["data"]["finetune"]["splits"]["val"]["counts"]["images"]["rows_in"] == 8
    assert set(summary["evaluation"]["metrics"]) >= {"AP", "AP50", "AR100", "AP_small"}
    for page in (root / "report.html", summary["data"]["finetune"]["report"]):
        assert "<html" in Path(page).read_text()
    for place in (summary["push"]["path"], *summary["tensorboard"]):
        assert any(Path(place).iterdir())
    assert (Path(summary["push"]["path"]) / "saved_model.pb").exists()


def test_the_summary_is_for_people(first_run):
    _, ended = first_run
    for words in ("/9] Push", "Total, start included", "finetune val", "Blessed", "report.html"):
        assert words in ended.out
    assert ended.err == ""
    assert "WARNING" not in ended.out


def test_the_same_again_comes_from_the_cache(first_run, config):
    root, _ = first_run
    pushed = read_summary(root)["push"]["path"]
    arguments = (f"--config={config}", f"--pipeline_root={root}")
    assert run(*arguments).status == 0
    # The blessed model is now the one to compare with, so that TFX decides again ...
    assert ran(root) <= EVALUATED
    summary = read_summary(root)
    assert summary["push"]["path"] == pushed
    assert [path.name for path in (root / "serving_model").iterdir()] == [Path(pushed).name]
    # ... once.
    assert "from the cache" in run(*arguments).out
    assert ran(root) == set()


def test_another_threshold_decides_again_and_trains_nothing(first_run, config):
    root, _ = first_run
    ended = run(
        f"--config={config}",
        f"--pipeline_root={root}",
        "--config.evaluation.min_metrics.AP=0.99",
    )
    assert ended.status == 0
    assert ran(root) == EVALUATED
    summary = read_summary(root)
    assert not summary["blessing"]["blessed"]
    assert "below the least value 0.9900" in summary["blessing"]["reasons"][0]
    assert summary["push"] == {"pushed": False}
    assert "NO: AP" in " ".join(ended.out.split())


@pytest.fixture
def changed_code(tmp_path, monkeypatch):
    """Changes a file in a copy of the code; the digests are the copy's, what runs is not."""
    for package in ("components", "pix2seq_model"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=ignored)
    monkeypatch.setattr(cache_keys, "_PROJECT_ROOT", tmp_path)

    def change(file: str) -> None:
        with (tmp_path / file).open("a") as opened:
            opened.write("\nCHANGED_VALUE = 1\n")

    return change


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        (
            "pix2seq_model/reports/templates/report.html",
            {"PretrainDataReport", "FinetuneDataReport", "EvaluationReport"},
        ),
        ("pix2seq_model/reports/evaluation_sections.py", {"EvaluationReport"}),
        # The SavedModel is exported again; the training has come to its end and stays there.
        pytest.param(
            "pix2seq_model/model_folder/saved_model.py",
            {"Pretrain", "Finetune", *EVALUATED},
            marks=pytest.mark.large,
        ),
    ],
)
def test_changed_code_runs_no_more_than_it_decides(first_run, config, changed_code, file, changed):
    root, _ = first_run
    arguments = (f"--config={config}", f"--pipeline_root={root}")
    assert run(*arguments).status == 0
    before = weights(root)
    checkpoints = {path: path.stat().st_mtime_ns for path in root.glob("training/*/checkpoints/*")}
    assert checkpoints
    (root / "report.html").write_text("old")
    changed_code(file)
    ended = run(*arguments)
    assert ended.status == 0, ended.err
    assert ran(root) == changed
    assert weights(root) == before
    assert {
        path: path.stat().st_mtime_ns for path in root.glob("training/*/checkpoints/*")
    } == checkpoints
    assert "<html" in (root / "report.html").read_text()


def test_stages_that_were_left_out_must_have_run(first_run, config, tmp_path):
    root, _ = first_run
    assert run(f"--config={config}", f"--pipeline_root={root}", "--stages=evaluate").status == 0
    assert "push" not in read_summary(root)
    ended = run(f"--config={config}", f"--pipeline_root={tmp_path}", "--stages=evaluate")
    assert ended.status == 2
    assert "--stages leaves out FinetuneExamples" in ended.err


@pytest.mark.large
def test_other_decoding_needs_no_word_of_training(first_run, config):
    root, _ = first_run
    arguments = (f"--config={config}", f"--pipeline_root={root}")
    assert run(*arguments).status == 0
    before = weights(root)
    ended = run(*arguments, "--stages=evaluate", "--config.evaluation.top_k=3")
    assert ended.status == 0, ended.err
    assert ran(root) == {"Pretrain", "Finetune", "CocoEvaluator", "EvaluationReport"}
    assert weights(root) == before
    model = Path(read_summary(root)["model"]) / "model.json"
    assert json.loads(model.read_text())["decoding"]["top_k"] == 3
    assert "Fine-tune: it is trained already, and only its model is written again" in ended.out
    assert "continues at step" not in ended.err


@pytest.mark.large
def test_killed_and_run_again_gives_the_same_weights(first_run, config):
    root, _ = first_run
    assert run(f"--config={config}", f"--pipeline_root={root}").status == 0
    before = weights(root)
    # It names the folder of a training, but no gradient is as long: the weights are the same.
    other = "--config.finetune.clip_norm=1e9"
    arguments = (f"--config={config}", f"--pipeline_root={root}", other, "--stages=finetune")
    trainings = set(root.glob("training/finetune-*"))
    models = set(root.glob("Finetune/model/*/model.json"))
    process = subprocess.Popen(
        [sys.executable, "pipelines/run_pipeline.py", *arguments],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    deadline = time.monotonic() + 300
    while not any(
        list(folder.glob("checkpoints/step-*"))
        for folder in set(root.glob("training/finetune-*")) - trainings
    ):
        assert process.poll() is None, process.stdout.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert set(root.glob("Finetune/model/*/model.json")) == models
    assert run(*arguments).status == 0
    assert ran(root) == {"Finetune"}
    assert weights(root) == before


def test_a_published_checkpoint_goes_all_the_way(config, tmp_path):
    settings = load_config(str(config))
    network = build_model(model_config(settings, "finetune"), vocabulary(settings))
    checkpoint = published_layout.write(tmp_path / "published", network)
    # As many steps as in the other runs, whose traced step is used again.
    arguments = (
        *(f"--config={config}", f"--pipeline_root={tmp_path}/root"),
        f"--config.finetune.start_from={checkpoint}",
    )
    ended = run(*arguments)
    assert ended.status == 0, ended.err
    assert ran(tmp_path / "root") == {
        *("FinetuneExamples", "FinetuneDataReport", "FinetuneCheckpoint", "Finetune"),
        *EVALUATED,
    }
    summary = read_summary(tmp_path / "root")
    record = json.loads((Path(summary["model"]) / "run.json").read_text())
    assert "FinetuneCheckpoint" in record["base_model"]["folder"]
    assert summary["push"]["pushed"]
    (checkpoint / "ckpt-7.data-00000-of-00001").write_bytes(b"cut off")
    ended = run(*arguments)
    assert ended.status == 2
    assert f"{checkpoint}/ckpt-7" in ended.err


def test_own_data_needs_two_places_and_keeps_what_was_counted(data, tmp_path):
    places = [
        f"--config.data.finetune.{kind}.{split}={data}/coco/{place}"
        for split in ("train", "val")
        for kind, place in (
            ("images", f"{split}2017"),
            ("annotations", f"annotations/instances_{split}2017.json"),
        )
    ]
    arguments = ("--config=configs/own_data.py:tiny", *places, f"--pipeline_root={tmp_path}")
    ended = run(*arguments, "--stages=convert", "--config.finetune.steps=20")
    assert ended.status == 0, ended.err
    assert "Settings that follow from the data" in ended.out
    summary = read_summary(tmp_path)
    scan = json.loads((tmp_path / "FinetuneExamples/scan.json").read_text())
    assert summary["scan"] == str(tmp_path / "FinetuneExamples/scan.json")
    assert summary["settled"] == scan["settings"]
    # As the conversion counts.
    folder = Path(summary["data"]["finetune"]["folder"])
    statistics = json.loads((folder / STATISTICS_FILE).read_text())
    for split, counts in statistics.items():
        for kind in ("objects_per_image", "classes"):
            assert scan["splits"][split][kind] == counts[kind]
        assert scan["splits"][split]["crowds"] == counts["crowd"]


def copy_with(data: Path, folder: Path, file: str, content: str) -> Path:
    """A config for a copy of the data in which one file has another content."""
    copy = folder / "data"
    shutil.copytree(data, copy)
    (copy / file).write_text(content)
    return tiny_pipeline.write_config(folder / "tiny.py", copy)


def coco_annotations(data: Path) -> dict:
    return json.loads((data / "coco/annotations/instances_train2017.json").read_text())


@pytest.mark.parametrize("content", ["", '{"images": [', "[]", "{}", '{"images": [{"id": 1}]}'])
def test_annotations_that_are_none(data, tmp_path, content):
    file = "coco/annotations/instances_train2017.json"
    config = copy_with(data, tmp_path, file, content)
    ended = run(f"--config={config}", f"--pipeline_root={tmp_path}/root", "--stages=convert")
    assert ended.status == 2
    assert file in ended.err
    assert "Traceback" not in ended.err


def test_unknown_categories_are_named(data, tmp_path):
    annotations = coco_annotations(data)
    for row in annotations["annotations"]:
        row["category_id"] = 99
    file = "coco/annotations/instances_train2017.json"
    config = copy_with(data, tmp_path, file, json.dumps(annotations))
    ended = run(f"--config={config}", f"--pipeline_root={tmp_path}/root", "--stages=convert")
    assert ended.status == 2
    assert "category_unknown" in ended.err
    # What the message points to is kept, though TFX removes the outputs of a failed stage.
    folder = ended.err.partition("every row is in ")[2].partition(";")[0]
    assert list(Path(folder).iterdir())


def test_images_that_are_none(data, tmp_path):
    images = coco_annotations(data)["images"]
    config = copy_with(data, tmp_path, f"coco/train2017/{images[0]['file_name']}", "no image")
    for row in images[1:]:
        (tmp_path / "data/coco/train2017" / row["file_name"]).write_text("no image")
    ended = run(f"--config={config}", f"--pipeline_root={tmp_path}/root", "--stages=convert")
    assert ended.status == 2
    assert "image_not_decodable" in ended.err


def test_empty_split(data, tmp_path):
    annotations = {**coco_annotations(data), "images": [], "annotations": []}
    file = "coco/annotations/instances_val2017.json"
    config = copy_with(data, tmp_path, file, json.dumps(annotations))
    ended = run(f"--config={config}", f"--pipeline_root={tmp_path}/root", "--stages=convert")
    assert ended.status == 2
    assert "instances_val2017.json" in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config="], "--config is missing"),
        (["--config=configs/no.py"], "config 'configs/no.py' does not exist"),
        (["--stages=train"], "--stages: 'train' is none of convert"),
        (["--orchestrator=cloud"], "should be one of"),
        (["--pipline_root=x"], "did you mean --pipeline_root?"),
        (["--config.finetune.stps=3"], "did you mean finetune.steps?"),
        (["--config.finetune.steps"], "--config.finetune.steps needs a value"),
        (["--config.finetune.batch_size=0"], "finetune.batch_size=0 must be at least 1"),
        (["--config.finetune.learning_rate=fast"], "finetune.learning_rate='fast' cannot be read"),
        (["--pipeline_root=gs://bucket/x"], "a run on this machine keeps its records"),
        (["--config.finetune.start_from=/nowhere"], "finetune.start_from=/nowhere"),
        (
            ["--config.data.finetune.images.train=/nowhere"],
            "data.finetune.images.train=/nowhere: there is no such folder",
        ),
        (
            ["--config.data.finetune.annotations.val=/nowhere.json"],
            "data.finetune.annotations.val=/nowhere.json: there is no such file",
        ),
    ],
)
def test_what_a_user_gets_wrong_is_named(config, tmp_path, arguments, message):
    ended = run(f"--config={config}", f"--pipeline_root={tmp_path}/root", *arguments)
    assert ended.status == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_pipeline_root_that_cannot_be_written(config, tmp_path):
    (tmp_path / "file").write_text("")
    ended = run(f"--config={config}", f"--pipeline_root={tmp_path}/file/root")
    assert ended.status == 2
    assert f"pipeline root {tmp_path}/file/root cannot be written" in ended.err
    assert "--pipeline_root" in ended.err


def test_two_runs_in_one_folder(config, tmp_path):
    from pipelines.run_pipeline import _only_run_in

    with _only_run_in(tmp_path):
        ended = run(f"--config={config}", f"--pipeline_root={tmp_path}")
    assert ended.status == 2
    assert "another run works in" in ended.err


def test_overrides_are_parted_from_beams_arguments():
    arguments = ["--config.seed=1", "--direct_num_workers", "2", "--config.name", "a=b"]
    assert split_overrides(arguments) == (["seed=1", "name=a=b"], ["--direct_num_workers", "2"])
    with pytest.raises(ConfigError, match=r"--config\.seed needs a value"):
        split_overrides(["--config.seed"])
