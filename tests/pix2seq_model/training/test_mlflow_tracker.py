"""What MLflow is asked: by a fake of it, and of the package itself where it is installed."""

import inspect

import pytest

from pix2seq_model.training.mlflow_tracker import MLflowTracker
from pix2seq_model.training.tracker import FINISHED, BackgroundTracker, TrackedRun, close_trackers
from tests.fixtures.tracker_packages import fake_mlflow

RUN = TrackedRun(
    project="birds",
    name="demo finetune",
    parameters={"seed": 7, "finetune.split": "train", **{f"p{n}": n for n in range(120)}},
    tags={"stage": "finetune", "run_identity": "abc"},
)


def track(tracker, run_id=None, *, step=4, outcome="finished"):
    opened = tracker.open(RUN, run_id)
    tracker.scalars(step, {"loss/all": 2.5, "evaluation/AP": 0.25})
    tracker.close(outcome)
    return opened


def test_a_run_has_its_settings_identity_and_curves(monkeypatch):
    calls = fake_mlflow(monkeypatch)
    assert track(MLflowTracker("http://server")) == "run1"
    assert calls.named("MlflowClient") == [((), {"tracking_uri": "http://server"})]
    assert calls.named("create_experiment") == [(("birds",), {})]
    assert calls.named("create_run") == [
        (("1",), {"tags": dict(RUN.tags), "run_name": "demo finetune"})
    ]
    *parameters, (args, metrics) = calls.named("log_batch")
    assert args == ("run1",)
    found = {param.key: param.value for _, part in parameters for param in part["params"]}
    assert found == {name: str(value) for name, value in RUN.parameters.items()}
    assert max(len(part["params"]) for _, part in parameters) <= 100
    assert [(m.key, m.value, m.step) for m in metrics["metrics"]] == [
        ("loss/all", 2.5, 4),
        ("evaluation/AP", 0.25, 4),
    ]
    assert calls.named("set_terminated") == [(("run1", "FINISHED"), {})]


def test_a_continued_training_continues_its_run(monkeypatch):
    calls = fake_mlflow(monkeypatch)
    first = track(MLflowTracker(), outcome="interrupted")
    calls.clear()
    assert track(MLflowTracker(), first, outcome="failed") == first
    # Parameters stay as they were: MLflow takes no other values.
    assert [name for name, _, _ in calls] == [
        *("MlflowClient", "get_run", "update_run", "log_batch", "set_terminated")
    ]
    assert calls.named("update_run") == [(("run1",), {"status": "RUNNING"})]
    assert calls.named("set_terminated") == [(("run1", "FAILED"), {})]


def test_another_server_gets_a_run_of_its_own(monkeypatch):
    fake_mlflow(monkeypatch)
    assert track(MLflowTracker(), "of another server") == "run1"
    assert track(MLflowTracker()) == "run2"


def test_parameters_that_fail_create_no_second_run(monkeypatch, tmp_path):
    fails = [ConnectionError("refused"), ConnectionError("refused")]
    calls, said = fake_mlflow(monkeypatch, parameters_fail=fails), []
    fed = BackgroundTracker(MLflowTracker(), RUN, work_dir=tmp_path, warn=said.append)
    for step in range(5):
        fed.scalars(step, {"loss/all": 2.5})
    close_trackers([fed], FINISHED)
    assert len(said) == 1
    assert not fails
    assert len(calls.named("create_run")) == 1
    batches = [named for _, named in calls.named("log_batch")]
    found = {param.key for part in batches for param in part.get("params", ())}
    assert found == set(RUN.parameters)
    assert [m.step for part in batches for m in part.get("metrics", ())] == [0, 1, 2, 3, 4]


def test_parameters_that_are_missing_come_when_it_continues(monkeypatch):
    calls = fake_mlflow(monkeypatch, parameters_fail=[ConnectionError("refused")])
    killed = MLflowTracker()
    run_id = killed.open(RUN, None)
    with pytest.raises(ConnectionError):
        killed.scalars(4, {"loss/all": 2.5})
    assert track(MLflowTracker(), run_id) == run_id
    parts = [named["params"] for _, named in calls.named("log_batch") if "params" in named]
    assert {param.key for part in parts for param in part} == set(RUN.parameters)


@pytest.mark.large
def test_the_package_itself_takes_what_the_fake_is_asked(monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra [mlflow], see docs/recipes.md")
    with monkeypatch.context() as patch:
        calls = fake_mlflow(patch)
        first = track(MLflowTracker())
        track(MLflowTracker(), first)
    for name, args, named in calls:
        client = mlflow.MlflowClient
        asked = client if name == "MlflowClient" else getattr(client, name)
        bound = args if inspect.isclass(asked) else (None, *args)
        inspect.signature(asked).bind(*bound, **named)

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run_id = track(MLflowTracker(uri), outcome="interrupted")
    client = mlflow.MlflowClient(tracking_uri=uri)
    assert client.get_run(run_id).info.status == "KILLED"
    assert track(MLflowTracker(uri), run_id, step=8) == run_id
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["finetune.split"] == "train"
    assert run.data.tags["run_identity"] == "abc"
    steps = [metric.step for metric in client.get_metric_history(run_id, "evaluation/AP")]
    assert steps == [4, 8]
    assert track(MLflowTracker(uri), "0" * 32) not in (run_id, "0" * 32)
