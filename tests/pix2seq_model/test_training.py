"""A training run, undisturbed, interrupted and continued, in its smallest form."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model import callbacks, training
from pix2seq_model.errors import CheckpointError, ConfigError, DataError, UserError
from pix2seq_model.folder_lock import FolderInUseError, FolderLock
from pix2seq_model.interruption import TrainingInterruptedError
from pix2seq_model.model_folder import load_model_folder, read_model_info
from pix2seq_model.skipped_batches import TrainingDivergedError
from pix2seq_model.training_evaluation import SplitEvaluator
from tests.pix2seq_model import tiny_run

# Everything that has a state of its own: the average, the half-accumulated gradients.
RICH = {"ema_decay": 0.9, "accumulation_steps": 2, "clip_norm": 1.0, "label_smoothing": 0.1}


class _KilledError(Exception):
    """Ends `fit` at once, as a kill does, without the process."""


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return tiny_run.write_examples(tmp_path_factory.mktemp("data") / "examples")


@pytest.fixture
def no_export(monkeypatch):
    monkeypatch.setattr(training, "export_model_folder", lambda *_, **__: None)


def _train(root: Path, examples: Path, *, base_model_dir=None, stage="finetune", **settings):
    return training.train(
        tiny_run.config(**settings),
        stage,
        examples_dir=examples,
        model_dir=root / "model",
        work_dir=root / "work",
        logs_dir=root / "logs",
        base_model_dir=base_model_dir,
    )


def _kill_at(monkeypatch, batch):
    """Ends the next `fit` after a batch, before the checkpoint that may be due then."""
    original = callbacks.Checkpointing.on_train_batch_end

    def dies(self, index, logs=None):
        if self._span.batch(index) == batch:
            raise _KilledError
        original(self, index, logs)

    monkeypatch.setattr(callbacks.Checkpointing, "on_train_batch_end", dies)


def _history(root, stage="finetune"):
    return [json.loads(row) for row in (root / f"model/history/{stage}.jsonl").open()]


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory, examples):
    root = tmp_path_factory.mktemp("plain")
    return root, _train(root, examples)


def test_the_model_folder_is_complete(plain_run):
    root, info = plain_run
    names = sorted(path.name for path in (root / "model").iterdir())
    assert names == ["Format-Serving", "history", "model.json", "model.weights.h5", "run.json"]
    network, read = load_model_folder(root / "model")
    assert read == info
    assert network.model_config.image_size == (32, 48)
    assert [category["name"] for category in read.categories] == ["square", "bar"]


def test_the_history_has_a_row_for_every_interval(plain_run):
    rows = _history(plain_run[0])
    assert [row["step"] for row in rows] == [4, 8, 10]
    assert set(rows[0]) == {
        *("step", "learning_rate", "loss", "loss_coordinates", "loss_classes", "loss_noise"),
        *("token_accuracy", "gradient_norm"),
    }
    # The first steps of a network that knows nothing: every token is as likely as any other.
    assert rows[0]["loss"] == pytest.approx(5.07, abs=0.15)  # log 160
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_the_run_record_says_what_it_takes_to_repeat(plain_run, examples):
    record = json.loads((plain_run[0] / "model/run.json").read_text())
    assert record["config"]["finetune"]["steps"] == 10
    assert record["seed"] == 3
    assert record["data"]["folder"] == str(examples)
    assert re.fullmatch("[0-9a-f]{64}", record["data"]["fingerprint"])
    assert record["packages"]["keras"]
    assert record["hardware"]["backend"] == "tensorflow"
    assert record["base_model"] is None
    assert record["restarts"] == 0


def test_the_same_command_on_a_finished_run_writes_the_same_model(plain_run, examples, no_export):
    root, info = plain_run
    assert _train(root, examples).weights_sha256 == info.weights_sha256


def test_other_settings_in_the_same_work_folder_are_refused(plain_run, examples):
    with pytest.raises(CheckpointError, match=r"finetune.learning_rate: 0.001 there, 0.002 now"):
        _train(plain_run[0], examples, learning_rate=0.002)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_killed_and_continued_equals_undisturbed(
    plain_run, examples, tmp_path, monkeypatch, no_export, batch
):
    with monkeypatch.context() as patch:
        _kill_at(patch, batch)
        with pytest.raises(_KilledError):
            _train(tmp_path, examples)
    info = _train(tmp_path, examples)
    assert info.weights_sha256 == plain_run[1].weights_sha256
    assert _history(tmp_path) == _history(plain_run[0])


def test_average_and_accumulation_continue_too(examples, tmp_path, monkeypatch, no_export):
    undisturbed = _train(tmp_path / "a", examples, **RICH)
    # 9 batches are 4 steps and a half; the last checkpoint is of batch 6, the third step.
    with monkeypatch.context() as patch:
        _kill_at(patch, 9)
        with pytest.raises(_KilledError):
            _train(tmp_path / "b", examples, **RICH)
    assert _train(tmp_path / "b", examples, **RICH).weights_sha256 == undisturbed.weights_sha256
    assert _history(tmp_path / "a") == _history(tmp_path / "b")
    assert [row["step"] for row in _history(tmp_path / "a")] == [4, 8, 10]


def test_a_signal_stops_in_the_middle_of_a_log_interval(
    plain_run, examples, tmp_path, monkeypatch, no_export
):
    original = callbacks.IntervalLog.on_train_batch_end

    def signals(self, index, logs=None):
        original(self, index, logs)
        if self._span.batch(index) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.IntervalLog, "on_train_batch_end", signals)
        with pytest.raises(TrainingInterruptedError, match=r"SIGTERM at step 5 of 10.*continue"):
            _train(tmp_path, examples)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert not (tmp_path / "model/model.json").exists()
    assert _train(tmp_path, examples).weights_sha256 == plain_run[1].weights_sha256
    assert _history(tmp_path) == _history(plain_run[0])
    assert json.loads((tmp_path / "model/run.json").read_text())["restarts"] == 1


def test_a_damaged_checkpoint_is_passed_over(
    plain_run, examples, tmp_path, monkeypatch, capsys, no_export
):
    with monkeypatch.context() as patch:
        _kill_at(patch, 8)
        with pytest.raises(_KilledError):
            _train(tmp_path, examples)
    latest = tmp_path / "work/checkpoints/step-000000006.npz"
    latest.write_bytes(latest.read_bytes()[:-2000])
    assert _train(tmp_path, examples).weights_sha256 == plain_run[1].weights_sha256
    said = capsys.readouterr().err
    assert "step-000000006.npz is damaged" in said
    assert "finetune continues at step 3 of 10" in said


def _poison(monkeypatch, batches):
    """Puts a NaN into one image of some batches, by their number from 0."""
    original = training.training_dataset

    def poisoned(*args, **kwargs):
        first = kwargs.get("start_step", 0)

        def spoil(index, batch):
            inputs, targets, weights = batch
            bad = tf.reduce_any(tf.equal(first + index, tf.constant(batches, tf.int64)))
            image = inputs["image"] + tf.where(bad, np.nan, 0.0)
            return {**inputs, "image": image}, targets, weights

        return original(*args, **kwargs).enumerate().map(spoil)

    monkeypatch.setattr(training, "training_dataset", poisoned)


def test_a_poisoned_batch_is_skipped_and_its_images_named(
    examples, tmp_path, monkeypatch, capsys, no_export
):
    with monkeypatch.context() as patch:
        _poison(patch, [5])
        _train(tmp_path, examples)
    rows = json.loads((tmp_path / "work/skipped_batches.json").read_text())
    ids = training.training_image_ids(
        examples, split="train", batch_size=4, seed=3, shuffle_buffer=8, step=5
    )
    assert rows == [{"batch": 5, "image_ids": ids}]
    assert set(ids) <= {str(100 + index) for index in range(tiny_run.NUM_EXAMPLES)}
    assert "1 of 8 batches had a loss or gradient that is not finite" in capsys.readouterr().err
    assert all(np.isfinite(row["loss"]) for row in _history(tmp_path))
    network, _ = load_model_folder(tmp_path / "model")
    assert all(np.isfinite(weight.numpy()).all() for weight in network.weights)


def test_too_many_poisoned_batches_end_the_run(examples, tmp_path, monkeypatch):
    _poison(monkeypatch, [1, 2, 5, 6])
    with pytest.raises(TrainingDivergedError, match=r"4 of 8 batches.*max_skipped_batches=3"):
        _train(tmp_path, examples, max_skipped_batches=3)
    rows = json.loads((tmp_path / "work/skipped_batches.json").read_text())
    assert [row["batch"] for row in rows] == [1, 2, 5, 6]


def test_evaluations_while_training_and_the_best_kept(tmp_path, monkeypatch, no_export):
    examples = tiny_run.write_examples(tmp_path / "examples", splits=("train", "val"))
    scores = iter([0.1, 0.3, 0.2])
    real, weights = SplitEvaluator.__call__, []

    def evaluate(self):
        metrics, picture = real(self)
        assert set(metrics) == {"AP", "AP50"}
        assert picture.dtype == np.uint8
        weights.append(self._detector._network.get_weights())
        return {**metrics, "AP": next(scores)}, picture

    monkeypatch.setattr(SplitEvaluator, "__call__", evaluate)
    settings = {"evaluate_every_steps": 4, "evaluate_images": 5, "keep_best": True}
    info = _train(tmp_path, examples, ema_decay=0.5, **settings)
    assert [(row["step"], row["AP"]) for row in _history(tmp_path)] == [
        (4, 0.1),
        (8, 0.3),
        (10, 0.2),
    ]
    network, _ = load_model_folder(tmp_path / "model")
    for best, saved in zip(weights[1], network.get_weights(), strict=True):
        assert np.array_equal(best, saved)
    assert info.source.endswith("best of step 8")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"evaluate_every_steps": 3}, r"evaluate_every_steps=3 .*steps_per_log=4: choose 4"),
        ({"keep_best": True}, r"keep_best needs evaluations"),
    ],
)
def test_evaluations_that_cannot_be_are_refused(examples, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        _train(tmp_path, examples, **settings)


def test_tensorboard_has_the_curves_and_the_pictures(plain_run):
    found = {}
    for log in (plain_run[0] / "logs/finetune").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(log)):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    assert found["loss/all"] == [4, 8, 10]
    assert found["training examples"] == [0]
    assert set(found) == {
        *("loss/all", "loss/coordinates", "loss/classes", "loss/noise", "accuracy/tokens"),
        *("optimizer/learning_rate", "optimizer/gradient_norm", "optimizer/weight_norm"),
        *("speed/images_per_second", "speed/share_of_time_waiting_for_input"),
        "training examples",
    }


def test_a_second_trainer_is_refused(examples, tmp_path):
    with (
        FolderLock(tmp_path / "work"),
        pytest.raises(FolderInUseError, match=rf"in use by another trainer.*{os.getpid()}"),
    ):
        _train(tmp_path, examples)


def test_fine_tuning_starts_from_a_base_model(plain_run, examples, tmp_path, capsys, no_export):
    root, base = plain_run
    config = tiny_run.config(steps=1, warmup_steps=0, image_size=(48, 64), learning_rate=1e-12)
    info = training.train(
        config,
        "pretrain",
        examples_dir=examples,
        model_dir=tmp_path / "model",
        work_dir=tmp_path / "work",
        logs_dir=tmp_path / "logs",
        base_model_dir=root / "model",
    )
    assert "weights taken" in capsys.readouterr().err
    assert info.model.image_size == (48, 64)
    names = sorted(path.name for path in (tmp_path / "model/history").iterdir())
    assert names == ["finetune.jsonl", "pretrain.jsonl"]
    record = json.loads((tmp_path / "model/run.json").read_text())
    assert record["base_model"]["weights_sha256"] == base.weights_sha256
    assert record["base_model"]["run"]["stage"] == "finetune"
    (before, _), (after, _) = (
        load_model_folder(root / "model"),
        load_model_folder(tmp_path / "model"),
    )
    for old, new in zip(before.weights, after.weights, strict=True):
        assert new.numpy() == pytest.approx(old.numpy(), abs=1e-6)


def test_a_batch_that_does_not_divide_is_refused(examples, tmp_path):
    with pytest.raises(ConfigError, match=r"finetune.batch_size=4 .*accumulation_steps=3"):
        _train(tmp_path, examples, accumulation_steps=3)


def test_intervals_must_fit_the_executions(examples, tmp_path):
    with pytest.raises(ConfigError, match=r"finetune.checkpoint_every_steps=3 .*choose 2"):
        _train(tmp_path, examples, steps_per_execution=2)


def test_folders_that_cannot_be_made_are_named_before_training(examples, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("work_dir", "model_dir", "logs_dir"):
        folders = {key: tmp_path / name / key for key in ("work_dir", "model_dir", "logs_dir")}
        folders[name] = tmp_path / "file" / name
        with pytest.raises(UserError, match=rf"{tmp_path}/file/{name}.* cannot be written"):
            training.train(tiny_run.config(), "finetune", examples_dir=examples, **folders)


def test_missing_examples_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        _train(tmp_path, tmp_path / "nowhere")


_CHILD = """
import sys
from pathlib import Path
from tests.pix2seq_model import test_training, tiny_run
from pix2seq_model import training
training.export_model_folder = lambda *_, **__: None
test_training._train(Path(sys.argv[1]), Path(sys.argv[2]), steps=300, **eval(sys.argv[3]))
"""


def _child(root, examples, settings, *, backend) -> subprocess.Popen:
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_COMPILATION_CACHE_DIR": str(examples.parent / "jax_cache"),
    }
    arguments = [sys.executable, "-c", _CHILD, str(root), str(examples), repr(settings)]
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)


def _weights(root) -> str:
    return read_model_info(root / "model").weights_sha256


def _wait_for_a_checkpoint_after(root: Path, batch: int, child: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and child.poll() is None:
        names = [path.name for path in (root / "work/checkpoints").glob("step-*.npz")]
        if any(int(name[5:14]) > batch for name in names):
            return
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint: {child.communicate()[1]}")


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "settings"), [("tensorflow", {}), ("jax", {}), ("jax", RICH)])
def test_a_killed_process_continues(examples, tmp_path, backend, settings):
    whole = _child(tmp_path / "whole", examples, settings, backend=backend)
    assert whole.wait() == 0, whole.communicate()[1]
    killed = tmp_path / "killed"
    for batch, number in ((20, signal.SIGKILL), (100, signal.SIGTERM)):
        child = _child(killed, examples, settings, backend=backend)
        _wait_for_a_checkpoint_after(killed, batch, child)
        child.send_signal(number)
        child.wait()
        assert child.returncode != 0
        assert not (killed / "model/model.json").exists()
    assert "Run the same command to continue" in child.communicate()[1]
    last = _child(killed, examples, settings, backend=backend)
    assert last.wait() == 0, last.communicate()[1]
    assert _weights(killed) == _weights(tmp_path / "whole")
