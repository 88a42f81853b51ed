"""Training runs that are stopped, starved and poisoned, and end as described."""

import errno
import json
import os
import random
import re
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.errors import (
    CheckpointError,
    FolderInUseError,
    TrainingDivergedError,
    TrainingInterruptedError,
    UserError,
)
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.folder_lock import FolderLock
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.training import job
from pix2seq_model.training import train as training
from pix2seq_model.training.interruption import StopAgreement
from pix2seq_model.training.interval_log import IntervalLog
from tests.fixtures import kill_and_continue, tiny_run


class _KilledError(Exception):
    """Ends the loop at once, as a kill does, without the process."""


@pytest.fixture
def killed_run(examples, tmp_path):
    """The run of kill_and_continue on JAX, with everything that has a state of its own.

    The other tests end runs on TensorFlow in as many ways, but in this process. Killed processes on
    TensorFlow: `make test-distributed`.
    """
    seed, root = random.randrange(1000), tmp_path
    print(f"seed of the kills: {seed}")
    driver = kill_and_continue.start(root, examples, backend="jax", settings="rich", seed=seed)
    yield root, driver
    driver.kill()
    driver.communicate()


def _kill_at(monkeypatch, batch):
    """Ends the next run after a batch, before the checkpoint that may be due then."""
    original = StopAgreement.is_agreed

    def dies(self, number):
        if number == batch:
            raise _KilledError
        return original(self, number)

    monkeypatch.setattr(StopAgreement, "is_agreed", dies)


def test_whatever_stops_it_it_ends_the_same(
    plain_run, examples, tmp_path, monkeypatch, capsys, no_export
):
    # Killed before there is a checkpoint.
    with monkeypatch.context() as patch:
        _kill_at(patch, 1)
        with pytest.raises(_KilledError):
            tiny_run.train(tmp_path, examples)
    # The disk is full when the first one is written.
    checkpoints = tmp_path / "work/checkpoints"
    with monkeypatch.context() as patch:
        _fill_the_disk(patch)
        with pytest.raises(CheckpointError, match=r"step-000000003.npz could not be .* free some"):
            tiny_run.train(tmp_path, examples)
    assert list(checkpoints.iterdir()) == []
    # Asked to stop in the middle of a log interval.
    with monkeypatch.context() as patch:
        _signal_at(patch, 5)
        with pytest.raises(TrainingInterruptedError, match=r"SIGTERM at step 5 of 10.*continue"):
            tiny_run.train(tmp_path, examples)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert not (tmp_path / "model/model.json").exists()
    # Killed between two checkpoints, and the later one is damaged.
    with monkeypatch.context() as patch:
        _kill_at(patch, 8)
        with pytest.raises(_KilledError):
            tiny_run.train(tmp_path, examples)
    latest = checkpoints / "step-000000006.npz"
    latest.write_bytes(latest.read_bytes()[:-2000])
    capsys.readouterr()
    info = tiny_run.train(tmp_path, examples)
    said = capsys.readouterr().err
    assert "step-000000006.npz is damaged" in said
    assert "finetune continues at step 5 of 10" in said
    assert info.weights_sha256 == plain_run[1].weights_sha256
    assert tiny_run.history(tmp_path) == tiny_run.history(plain_run[0])
    assert json.loads((tmp_path / "model/run.json").read_text())["restarts"] == 1


def _fill_the_disk(monkeypatch):
    def full(file, **_):
        file.write(b"some bytes")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)


def _signal_at(monkeypatch, batch):
    original = IntervalLog.tick

    def signals(self, number):
        original(self, number)
        if number == batch:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(IntervalLog, "tick", signals)


def test_an_input_that_hangs_is_reported(examples, tmp_path, monkeypatch, capsys, no_export):
    original, said = job.training_dataset, threading.Event()

    def hangs(*args, **kwargs):
        def wait(index):
            if index == 1:
                said.wait(60)
            return index

        def slow(index, batch):
            index = tf.numpy_function(wait, [index], tf.int64)
            with tf.control_dependencies([index]):
                return tf.nest.map_structure(tf.identity, batch)

        return original(*args, **kwargs).enumerate().map(slow)

    monkeypatch.setattr(job, "training_dataset", hangs)
    watch = training.StallWatch

    def impatient(*args, say):
        def say_and_go_on(text):
            say(text)
            said.set()

        return watch(*args, say=say_and_go_on, patience_s=0.4)

    monkeypatch.setattr(training, "StallWatch", impatient)
    tiny_run.train(tmp_path, examples)
    assert re.search(
        rf"waited \d+ s for the next batch from split 'train' of {examples}",
        capsys.readouterr().err,
    )


def _poison(monkeypatch, batches):
    """Makes the weights of some batches, by their number from 0, NaN."""
    original = job.training_dataset

    def poisoned(*args, **kwargs):
        first = kwargs.get("start_step", 0)

        def spoil(index, batch):
            inputs, targets, weights = batch
            bad = tf.reduce_any(tf.equal(first + index, tf.constant(batches, tf.int64)))
            return inputs, targets, weights + tf.where(bad, np.nan, 0.0)

        return original(*args, **kwargs).enumerate().map(spoil)

    monkeypatch.setattr(job, "training_dataset", poisoned)


def test_a_poisoned_batch_is_skipped_and_its_images_named(
    examples, tmp_path, monkeypatch, capsys, no_export
):
    with monkeypatch.context() as patch:
        _poison(patch, [5])
        tiny_run.train(tmp_path, examples)
    rows = json.loads((tmp_path / "work/skipped_batches.json").read_text())
    ids = job.training_image_ids(
        examples, split="train", batch_size=4, seed=3, shuffle_buffer=8, step=5
    )
    assert rows == [{"batch": 5, "image_ids": ids}]
    assert "1 of 8 batches had a loss or gradient that is not finite" in capsys.readouterr().err
    assert all(np.isfinite(row["loss"]) for row in tiny_run.history(tmp_path))
    network, _ = load_model_folder(tmp_path / "model")
    assert all(np.isfinite(weight.numpy()).all() for weight in network.weights)


def test_too_many_poisoned_batches_end_the_run(examples, tmp_path, monkeypatch):
    _poison(monkeypatch, [1, 2, 5, 6])
    with pytest.raises(TrainingDivergedError, match=r"4 of 8 batches.*max_skipped_batches=3"):
        tiny_run.train(tmp_path, examples, max_skipped_batches=3)
    rows = json.loads((tmp_path / "work/skipped_batches.json").read_text())
    assert [row["batch"] for row in rows] == [1, 2, 5, 6]


def test_a_second_trainer_is_refused(examples, tmp_path):
    with (
        FolderLock(tmp_path / "work"),
        pytest.raises(FolderInUseError, match=rf"in use by another trainer.*{os.getpid()}"),
    ):
        tiny_run.train(tmp_path, examples)


def test_folders_that_cannot_be_made_are_named_before_training(examples, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("work_dir", "model_dir", "logs_dir"):
        folders = {key: tmp_path / name / key for key in ("work_dir", "model_dir", "logs_dir")}
        folders[name] = tmp_path / "file" / name
        with pytest.raises(UserError, match=rf"{tmp_path}/file/{name}.* cannot be written"):
            training.train(
                training_run(tiny_run.config(), "finetune"), examples_dir=examples, **folders
            )


@pytest.mark.parametrize("name", ["work_dir", "model_dir", "logs_dir"])
def test_folders_that_cannot_be_written_are_named_before_training(examples, tmp_path, name):
    # Not even root may write there, who may write to any folder that is merely read-only.
    folders = {key: tmp_path / key for key in ("work_dir", "model_dir", "logs_dir")}
    folders[name] = Path("/proc/self/fdinfo")
    with pytest.raises(UserError, match=r"/proc/self/fdinfo.* cannot be written"):
        training.train(
            training_run(tiny_run.config(), "finetune"), examples_dir=examples, **folders
        )


@pytest.mark.large
def test_killed_processes_continue(killed_run):
    root, driver = killed_run
    kill_and_continue.check(driver, root, backend="jax")
