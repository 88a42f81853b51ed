"""A whole training, logged by fakes of the trackers' packages."""

import json
import subprocess
import sys

import pytest

from pix2seq_model.errors import ConfigError, TrainingInterruptedError
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.training.loggers import Loggers
from pix2seq_model.training.run_record import run_identity, tracked_run
from pix2seq_model.training.settings import LoggingSettings
from pix2seq_model.training.tensorboard import Summaries
from tests.fixtures import tiny_config
from tests.fixtures.tracker_packages import fake_mlflow, fake_wandb

ALL = LoggingSettings(loggers=("tensorboard", "mlflow", "wandb"))


class Data:
    def fingerprint(self):
        return "of the data"


def tracked(root, **settings):
    config = tiny_config.config(**settings)
    run = training_run(config, "finetune")
    identity = run_identity(run, data=Data(), base_model=None)
    return tracked_run(run, identity, work_dir=root), identity


def loggers(root, settings=ALL, *, said):
    run, _ = tracked(root)
    root.mkdir(exist_ok=True)
    return Loggers(settings, run, logs_dir=root / "logs", work_dir=root, warn=said.append)


def test_all_get_the_same_scalars(tmp_path, monkeypatch):
    mlflow, wandb, said = fake_mlflow(monkeypatch), fake_wandb(monkeypatch), []
    shown = []
    monkeypatch.setattr(Summaries, "scalars", lambda _, step, values: shown.append((step, values)))
    row = {"step": 4, "loss": 2.5, "AP": 0.25, "AP50": -1.0}
    with loggers(tmp_path, said=said) as log:
        log.history([])
        log.scalars(4, row)
    assert said == []
    assert shown == [(4, row)]
    (_, batch) = mlflow.named("log_batch")[-1]
    assert {m.key: m.value for m in batch["metrics"]} == {"loss/all": 2.5, "evaluation/AP": 0.25}
    ((logged,), _) = wandb.named("log")[-1]
    assert logged == {"step": 4, "loss/all": 2.5, "evaluation/AP": 0.25}
    noted = json.loads((tmp_path / "tracked_runs.json").read_text())
    wandb_id = wandb.named("init")[0][1]["id"]
    assert noted == {
        "mlflow": {"run_id": "run1", "step": 4},
        "wandb": {"run_id": wandb_id, "step": 4},
    }


def test_a_killed_training_continues_the_same_runs(tmp_path, monkeypatch):
    mlflow, wandb, said = fake_mlflow(monkeypatch), fake_wandb(monkeypatch), []
    log = loggers(tmp_path, said=said)
    log.scalars(4, {"loss": 2.5})
    log.__exit__(TrainingInterruptedError)
    with loggers(tmp_path, said=said) as log:
        log.history([{"step": 4, "loss": 2.5}])
        log.scalars(8, {"loss": 2.0})
    assert said == []
    steps = [m.step for _, named in mlflow.named("log_batch") for m in named.get("metrics", ())]
    assert steps == [4, 8]
    assert [args[0]["step"] for args, _ in wandb.named("log")] == [4, 8]
    assert len(mlflow.named("create_run")) == 1
    assert len({asked["id"] for _, asked in wandb.named("init")}) == 1
    assert [args for args, _ in mlflow.named("set_terminated")] == [
        ("run1", "KILLED"),
        ("run1", "FINISHED"),
    ]


def test_a_logger_that_is_added_gets_what_was_trained_before(tmp_path, monkeypatch):
    mlflow = fake_mlflow(monkeypatch)
    with loggers(tmp_path, LoggingSettings(loggers=("mlflow",)), said=[]) as log:
        log.history([{"step": 4, "loss": 2.5}])
        log.scalars(8, {"loss": 2.0})
    steps = [m.step for _, named in mlflow.named("log_batch") for m in named.get("metrics", ())]
    assert steps == [4, 8]
    assert not (tmp_path / "logs").exists()  # TensorBoard was not asked for.


def test_trackers_that_fail_are_said_once_each(tmp_path, monkeypatch):
    fake_mlflow(monkeypatch, fails=[ConnectionError("refused")] * 100)
    monkeypatch.setitem(sys.modules, "wandb", None)  # As if it were not installed.
    said = []
    with loggers(tmp_path, said=said) as log:
        for step in range(5):
            log.scalars(step, {"loss": 2.5})
    assert len(said) == 2
    assert any("mlflow" in text and "refused" in text for text in said)
    assert any("pip install '.[wandb]'" in text for text in said)


def test_other_processes_than_the_first_log_nothing(tmp_path, monkeypatch):
    mlflow = fake_mlflow(monkeypatch)
    with Loggers(ALL, None, logs_dir=tmp_path / "logs", work_dir=tmp_path, warn=print) as log:
        log.history([{"step": 4, "loss": 2.5}])
        log.scalars(8, {"loss": 2.0})
    assert mlflow == []
    assert not list(tmp_path.iterdir())


def test_the_run_is_told_by_its_settings_and_identity(tmp_path):
    run, identity = tracked(tmp_path)
    assert run.name.endswith(" finetune")
    assert run.parameters["finetune.steps"] == 10
    assert run.parameters["finetune.steps_per_log"] == 4
    assert run.parameters["evaluation.split"] == "val"
    assert identity.items() <= run.parameters.items()
    assert run.tags["data"] == "of the data"
    other, _ = tracked(tmp_path, steps=11)
    assert run.tags["run_identity"] != other.tags["run_identity"]
    assert {type(value) for value in run.tags.values()} == {str}


@pytest.mark.parametrize(
    ("names", "questions"),
    [(("tensorboard",), []), ((), []), (("tensorboard", "wandb"), [("rev-parse", "HEAD")])],
)
def test_git_is_asked_for_trackers_alone(tmp_path, monkeypatch, names, questions):
    asked = []

    def answer(command, **_):
        assert command[:2] == ["git", "--no-optional-locks"]
        asked.append(tuple(command[4:]))
        return "abc\n"

    monkeypatch.setattr(subprocess, "check_output", answer)
    config = tiny_config.config()
    config.logging.loggers = names
    run = training_run(config, "finetune")
    tags = tracked_run(run, tracked(tmp_path)[1], work_dir=tmp_path).tags
    assert asked == questions
    assert tags["git_commit"] == ("abc" if questions else "")


def test_logging_is_no_part_of_what_is_trained(tmp_path):
    config = tiny_config.config()
    config.logging.update(loggers=("mlflow", "wandb"), project="birds", run_name="one")
    run = training_run(config, "finetune")
    assert run_identity(run, data=Data(), base_model=None) == tracked(tmp_path)[1]
    assert tracked_run(run, tracked(tmp_path)[1], work_dir=tmp_path).name == "one"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loggers": ("comet",)}, r"logging\.loggers='comet' is none of 'tensorboard', 'mlflow'"),
        ({"project": " "}, r"logging\.project is empty"),
        ({"mlflow_tracking_uri": "https://me:word@host"}, "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LoggingSettings(**settings)
