"""What each step of the pipeline is given: what decides an outcome, and no more."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines import cache_keys
from pipelines.pipeline import create_pipeline
from pipelines.request import Request
from pix2seq_model.experiment import load_config
from tests.fixtures import tiny_pipeline

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    data = tiny_pipeline.write_data(folder / "data")
    return str(tiny_pipeline.write_config(folder / "tiny.py", data))


def _request(config, overrides, code_version="1"):
    return Request(
        config=load_config(config, overrides),
        config_name=config,
        overrides=overrides,
        pipeline_root="root",
        code_version=code_version,
    )


def training(config, *overrides, code_version="1"):
    """What the trainer of fine-tuning is given: its folder, its key, its overrides."""
    request = _request(config, overrides, code_version=code_version)
    nodes = {node.id: node for node in create_pipeline(request).components}
    given = json.loads(nodes["Finetune"].exec_properties["custom_config"])
    return given["work_dir"], given["settings_digest"], given["overrides"]


MEASURED = "finetune.evaluate_every_steps=10"


@pytest.mark.parametrize(
    ("settings", "same_weights", "same_model"),
    [
        ((), True, True),
        # The history says what was measured ...
        ((MEASURED,), True, False),
        # ... and the weights are those that measured best.
        ((MEASURED, "finetune.keep_best=True"), False, False),
    ],
)
@pytest.mark.parametrize(
    "measuring",
    ["evaluation.split=train", "evaluation.batch_size=2", "evaluation.precision=bfloat16"],
)
def test_how_is_measured_counts_where_it_decides(
    config, settings, same_weights, same_model, measuring
):
    plain, other = training(config, *settings), training(config, *settings, measuring)
    assert (plain[0] == other[0]) == same_weights
    assert (plain[1] == other[1]) == same_model
    # The step is told as far as it reads it.
    assert (measuring in other[2]) == (not same_model)


@pytest.mark.parametrize(
    ("settings", "same_weights", "same_model"),
    [
        ((), True, True),
        ((MEASURED,), True, False),
        ((MEASURED, "finetune.keep_best=True"), False, False),
    ],
)
def test_what_measures_is_in_the_key_of_what_it_decides(
    config, settings, same_weights, same_model, monkeypatch
):
    def of(version):
        real = cache_keys._version
        with monkeypatch.context() as patched:
            patched.setattr(
                cache_keys, "_version", lambda name: version if name == "hotcoco" else real(name)
            )
            request = _request(config, settings)
            nodes = {node.id: node for node in create_pipeline(request).components}
            return json.loads(nodes["Finetune"].exec_properties["custom_config"])

    plain, other = of("1"), of("2")
    assert (plain["work_dir"] == other["work_dir"]) == same_weights
    assert (plain["code_version"] == other["code_version"]) == same_model


def test_decoding_is_exported_and_decides_no_weight(config):
    plain, other = training(config), training(config, "evaluation.top_k=3")
    assert plain[0] == other[0]
    assert plain[1] != other[1]
    best = (MEASURED, "finetune.keep_best=True")
    assert training(config, *best)[0] != training(config, *best, "evaluation.top_k=3")[0]


def test_what_the_report_shows_decides_no_training(config):
    for best in ((), (MEASURED, "finetune.keep_best=True")):
        plain = training(config, *best)
        assert training(config, *best, "evaluation.num_pictures=3") == plain


def test_where_the_log_goes_decides_nothing(config):
    where = "logging.loggers=('mlflow','wandb')"
    plain, other = training(config), training(config, where)
    assert plain[:2] == other[:2]
    # But the step is told.
    assert other[2] == [where]


STOPPING = (MEASURED, "finetune.early_stopping_patience=2")


@pytest.mark.parametrize(
    "other",
    [
        (),  # Not measured at all.
        (MEASURED, "finetune.validation_loss=False"),
        (*STOPPING, "finetune.early_stopping_metric=validation_loss"),
        (*STOPPING, "finetune.early_stopping_min_delta=0.1"),
        (*STOPPING, "finetune.evaluate_images=3"),
        (*STOPPING, "evaluation.split=train"),
    ],
)
def test_when_a_training_ends_does_not_begin_it_again(config, other):
    plain, other = training(config, *STOPPING), training(config, *other)
    assert plain[0] == other[0]
    # The model that comes out may be another.
    assert plain[1] != other[1]


def test_what_follows_a_training_counts_when_it_ended(config):
    def after(*overrides):
        stage = [override.replace("finetune", "pretrain") for override in overrides]
        return training(config, "pretrain.enabled=True", "evaluation.split=train", *stage)[0]

    assert after(*STOPPING) != after()
    assert after(*STOPPING) != after(*STOPPING, "finetune.evaluate_images=3")
    assert after(*STOPPING) != after(*STOPPING, "evaluation.batch_size=2")
    assert after(MEASURED) == after() == after(MEASURED, "finetune.validation_loss=False")


def test_the_code_that_ends_a_training_counts_for_what_follows(config, tmp_path, monkeypatch):
    for package in ("components", "pix2seq_model"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=ignored)
    monkeypatch.setattr(cache_keys, "_PROJECT_ROOT", tmp_path)
    pretrain = ["pretrain.enabled=True", "evaluation.split=train"]
    stopping = [override.replace("finetune", "pretrain") for override in STOPPING]

    def folders():
        """Of a training that may end early, of one after it, of one after a training that can't."""
        runs = (STOPPING, (*pretrain, *stopping), pretrain)
        return [training(config, *overrides, code_version="")[0] for overrides in runs]

    own, after, after_whole = folders()
    with (tmp_path / "pix2seq_model/training/early_stopping.py").open("a") as file:
        file.write("\nCHANGED_VALUE = 1\n")
    changed = folders()
    assert changed[0] == own
    assert changed[1] != after
    assert changed[2] == after_whole
