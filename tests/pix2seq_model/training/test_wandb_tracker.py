"""What W&B is asked: by a fake of it, and of the package itself where it is installed."""

import inspect

import pytest

from pix2seq_model.training.tracker import TrackedRun
from pix2seq_model.training.wandb_tracker import WandbTracker
from tests.fixtures.tracker_packages import fake_wandb


def run_in(folder):
    return TrackedRun(
        project="birds",
        name="demo finetune",
        parameters={"seed": 7},
        tags={"run_identity": "abc"},
        folder=str(folder),
    )


def track(folder, run_id=None, *, step=4, outcome="finished"):
    tracker = WandbTracker()
    opened = tracker.open(run_in(folder), run_id)
    tracker.scalars(step, {"loss/all": 2.5})
    tracker.close(outcome)
    return opened


def test_a_run_has_its_settings_identity_and_curves(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_DIR", raising=False)
    calls = fake_wandb(monkeypatch)
    run_id = track(tmp_path)
    ((_, asked),) = calls.named("init")
    assert asked["id"] == run_id
    assert (asked["project"], asked["name"]) == ("birds", "demo finetune")
    assert asked["config"] == {"seed": 7, "run_identity": "abc"}
    assert asked["dir"] == str(tmp_path)
    assert calls.named("log") == [(({"step": 4, "loss/all": 2.5},), {})]
    assert calls.named("finish") == [((), {"exit_code": 0})]


def test_a_continued_training_continues_its_run(monkeypatch, tmp_path):
    calls = fake_wandb(monkeypatch)
    first = track(tmp_path, outcome="interrupted")
    assert track(tmp_path, first) == first
    before, after = (asked for _, asked in calls.named("init"))
    assert before["id"] == after["id"]
    assert after["resume"] == "allow"
    assert [named["exit_code"] for _, named in calls.named("finish")] == [1, 0]
    # Two runs are not of one name.
    assert track(tmp_path) != first


def test_each_attempt_to_begin_is_of_the_same_run(monkeypatch, tmp_path):
    calls = fake_wandb(monkeypatch, init_raises=[ConnectionError("timeout")])
    tracker = WandbTracker()
    with pytest.raises(ConnectionError):
        tracker.open(run_in(tmp_path), None)
    opened = tracker.open(run_in(tmp_path), None)
    assert [asked["id"] for _, asked in calls.named("init")] == [opened, opened]


def test_the_environment_may_say_where_its_files_go(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    calls = fake_wandb(monkeypatch)
    track(tmp_path / "work")
    assert calls.named("init")[0][1]["dir"] is None


@pytest.mark.large
def test_the_package_itself_takes_what_the_fake_is_asked(monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb", reason="needs the extra [wandb], see docs/recipes.md")
    from wandb.sdk.wandb_run import Run

    with monkeypatch.context() as patch:
        calls = fake_wandb(patch)
        track(tmp_path)
    real = {"init": wandb.init, "Settings": wandb.Settings}
    for name, args, named in calls:
        bound = args if name in real else (None, *args)
        inspect.signature(real.get(name) or getattr(Run, name)).bind(*bound, **named)

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    run_id = track(tmp_path, outcome="interrupted")
    assert track(tmp_path, run_id, step=8) == run_id
    assert len(list(tmp_path.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb"))) in (1, 2)
