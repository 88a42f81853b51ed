"""Runs of two worker processes, and of one process with two devices, train like one device."""

import json
import random
import signal
import time
from pathlib import Path

import pytest

from pix2seq_model.model_folder.folder import read_model_info
from tests.fixtures import kill_and_continue, tiny_run, training_child

pytestmark = pytest.mark.distributed

# What is dropped differs between the devices of TensorFlow, and so would the losses.
_NO_DROPS = {"drop_path": 0.0, "drop_units": 0.0}
_NETWORKS = {
    "vit": _NO_DROPS,
    "resnet": {
        **_NO_DROPS,
        "backbone": "resnet",
        "resnet_variant": "c4",
        "resnet_width_multiplier": 0.125,
    },
}
_STEPS = {"steps": 20, "steps_per_log": 1, "checkpoint_every_steps": 5}
_TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return tiny_run.write_examples(tmp_path_factory.mktemp("data") / "examples")


def _history(root: Path) -> list[dict]:
    return [json.loads(row) for row in (root / "model/history/finetune.jsonl").open()]


def _assert_same_losses(one: Path, other: Path) -> None:
    ours, theirs = _history(one), _history(other)
    assert [row["step"] for row in ours] == list(range(1, 21))
    apart = 0.0
    for mine, their in zip(ours, theirs, strict=True):
        assert their["loss"] == pytest.approx(mine["loss"], rel=1e-5)
        assert their["gradient_norm"] == pytest.approx(mine["gradient_norm"], rel=1e-3)
        apart = max(apart, abs(their["loss"] / mine["loss"] - 1))
    assert ours[-1]["loss"] != ours[0]["loss"]
    print(f"losses of {len(ours)} steps at most {apart:.1e} apart")


@pytest.mark.parametrize("network", _NETWORKS)
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_workers_train_like_one_process(examples, tmp_path, backend, network):
    settings = {**_STEPS, "model": _NETWORKS[network]}
    training_child.finish(
        training_child.start(tmp_path / "one", examples, settings, backend=backend)
    )
    texts = training_child.finish(
        *training_child.start_workers(tmp_path / "two", examples, settings, backend=backend)
    )
    _assert_same_losses(tmp_path / "one", tmp_path / "two")
    # The chief alone speaks and writes.
    assert "step 20/20" in texts[0]
    assert "step 20/20" not in texts[1]
    assert len(list((tmp_path / "two/logs/finetune").iterdir())) == 1
    assert read_model_info(tmp_path / "two/model").source == "tiny, finetune, 20 steps"


def test_accumulation_average_and_two_workers(examples, tmp_path):
    settings = {
        **_STEPS,
        "ema_decay": 0.9,
        "accumulation_steps": 2,
        "clip_norm": 0.1,
        "model": _NO_DROPS,
    }
    one = training_child.start(tmp_path / "one", examples, settings, backend="tensorflow")
    training_child.finish(one)
    training_child.finish(
        *training_child.start_workers(tmp_path / "two", examples, settings, backend="tensorflow")
    )
    _assert_same_losses(tmp_path / "one", tmp_path / "two")


def _wait_for_checkpoint(root: Path, batch: int, children) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and all(child.poll() is None for child in children):
        names = [path.name for path in (root / "work/checkpoints").glob("step-*.npz")]
        if any(int(name[5:14]) >= batch for name in names):
            return
        time.sleep(0.02)
    raise AssertionError([child.communicate()[1] for child in children if child.poll()])


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_workers_are_stopped_killed_and_continue(examples, tmp_path, backend):
    settings = {"steps": 600, "steps_per_log": 50, "checkpoint_every_steps": 20}

    def workers(name):
        return training_child.start_workers(tmp_path / name, examples, settings, backend=backend)

    training_child.finish(*workers("whole"))
    # The second worker is asked to stop: all stop after the same batch, with the state saved.
    children = workers("stopped")
    _wait_for_checkpoint(tmp_path / "stopped", 40, children)
    children[1].send_signal(signal.SIGTERM)
    for child in children:
        assert "Run the same command to continue" in child.communicate(timeout=300)[1]
    # All are killed, as a machine's loss ends a job.
    reached = max(int(p.name[5:14]) for p in tmp_path.glob("stopped/*/checkpoints/step-*"))
    children = workers("stopped")
    _wait_for_checkpoint(tmp_path / "stopped", reached + 40, children)
    for child in children:
        child.kill()
        child.communicate()
    assert not (tmp_path / "stopped/model/model.json").exists()
    training_child.finish(*workers("stopped"))
    whole, stopped = (read_model_info(tmp_path / name / "model") for name in ("whole", "stopped"))
    assert stopped.weights_sha256 == whole.weights_sha256


@pytest.mark.parametrize("network", _NETWORKS)
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_of_one_process(examples, tmp_path, backend, network):
    settings = {**_STEPS, "model": _NETWORKS[network]}
    split = {"tensorflow_devices": 2} if backend == "tensorflow" else {}
    environment = _TWO_DEVICES if backend == "jax" else {}
    training_child.finish(
        training_child.start(tmp_path / "one", examples, settings, backend=backend),
        training_child.start(
            tmp_path / "two",
            examples,
            {**settings, **split},
            backend=backend,
            environment=environment,
        ),
    )
    _assert_same_losses(tmp_path / "one", tmp_path / "two")


def test_a_batch_that_two_devices_cannot_share_is_refused(examples, tmp_path):
    child = training_child.start(
        tmp_path, examples, {"batch_size": 5}, backend="jax", environment=_TWO_DEVICES
    )
    assert "finetune.batch_size=5 does not divide" in child.communicate()[1]
    assert child.returncode != 0


@pytest.mark.parametrize(
    ("settings", "backend"), [("plain", "tensorflow"), ("plain", "jax"), ("rich", "tensorflow")]
)
def test_a_single_process_that_is_killed_continues(examples, tmp_path, settings, backend):
    # Next to the rich run on JAX, which test_training_survival.py kills in each `make test`.
    driver = kill_and_continue.start(
        tmp_path, examples, backend=backend, settings=settings, seed=random.randrange(1000)
    )
    kill_and_continue.check(driver, tmp_path, backend=backend)
