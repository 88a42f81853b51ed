"""Checkpoints: a network that continues training as if it had not stopped, and damaged files."""

import builtins
import errno
import io
import json
import os
import re
import stat
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from etils import epath

from pix2seq_model.errors import CheckpointError
from pix2seq_model.training import checkpoint
from pix2seq_model.training.checkpoint import CheckpointFolder, TrainingState, put_state, take_state
from tests.fixtures.pipes import named_pipe


def _model(width=4):
    """A network with every kind of state: dropout's seed, batch statistics, moments, averages."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Input((3,)),
            keras.layers.Dense(width),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=7),
            keras.layers.Dense(1),
        ]
    )
    optimizer = keras.optimizers.AdamW(
        0.01, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=2
    )
    model.compile(optimizer=optimizer, loss="mse")
    optimizer.build(model.trainable_variables)
    return model


def _batches(start):
    def batch(index):
        values = tf.random.stateless_uniform((8, 4), seed=tf.stack([index, index]))
        return values[:, :3], values[:, 3:]

    return tf.data.Dataset.range(start, 1000).map(batch)


class _StateAfter(keras.callbacks.Callback):
    """Takes the state after some batch: `fit` itself ends by putting the averages in place."""

    def __init__(self, batch):
        super().__init__()
        self._batch = batch

    def on_train_batch_end(self, batch, logs=None):
        if batch == self._batch:
            self.state = take_state(self.model, step=batch + 1)


def _fit(model, *, start, steps):
    state = _StateAfter(steps - 1)
    model.fit(_batches(start), steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[state])
    return state.state


def _equal(a, b, groups=("model", "optimizer")):
    return all(
        np.array_equal(x, y)
        for name in groups
        for x, y in zip(a.groups[name], b.groups[name], strict=True)
    )


def _state(step=1, values=(1.0, 2.0)):
    return TrainingState(
        step=step,
        groups={"model": [np.float32(values)], "optimizer": [np.int64(step)], "metrics": []},
        record={"wall_time_s": 2.5},
    )


def test_continues_bit_for_bit(tmp_path):
    undisturbed = _fit(_model(), start=0, steps=7)
    folder = CheckpointFolder(tmp_path)
    folder.save(_fit(_model(), start=0, steps=3))
    continued = _model()
    put_state(continued, CheckpointFolder(tmp_path).restore(warn=pytest.fail))
    assert _equal(_fit(continued, start=3, steps=4), undisturbed)


def test_a_state_that_was_not_restored_differs(tmp_path):
    # So that the test above does not compare nothing.
    undisturbed = _fit(_model(), start=0, steps=7)
    assert not _equal(_fit(_model(), start=3, steps=4), undisturbed)


def test_round_trip_keeps_values_types_and_record(tmp_path):
    CheckpointFolder(tmp_path).save(_state(step=12))
    read = CheckpointFolder(tmp_path).restore(warn=pytest.fail)
    assert read.step == 12
    assert read.record == {"wall_time_s": 2.5}
    assert read.groups["model"][0].dtype == np.float32
    assert read.groups["model"][0].tolist() == [1.0, 2.0]
    assert read.groups["optimizer"][0] == 12


def test_an_empty_folder_restores_nothing(tmp_path):
    assert CheckpointFolder(tmp_path / "new").restore(warn=pytest.fail) is None


def test_keeps_the_last(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in (5, 10, 15):
        folder.save(_state(step))
    assert folder.steps() == [10, 15]


@pytest.mark.parametrize("position", [0.02, 0.3, 0.5, 0.7, 0.97])
def test_an_altered_byte_falls_back_to_the_one_before(tmp_path, position):
    folder = CheckpointFolder(tmp_path)
    folder.save(_state(1))
    values = np.random.default_rng(0).normal(size=4000)
    path = folder.save(_state(2, values))
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 0x10
    path.write_bytes(bytes(content))
    warnings = []
    restored = folder.restore(warn=warnings.append)
    if warnings:
        assert restored.step == 1
        assert path.name in warnings[0]
    else:  # A byte that carries nothing, such as a file's date.
        assert np.array_equal(restored.groups["model"][0], np.float32(values))
    # Bytes of the values are most of the file: those in its middle must be noticed.
    assert warnings or not 0.1 < position < 0.9


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.999])
def test_half_a_file_falls_back_to_the_one_before(tmp_path, fraction):
    folder = CheckpointFolder(tmp_path)
    folder.save(_state(1))
    path = folder.save(_state(2))
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    warnings = []
    assert folder.restore(warn=warnings.append).step == 1
    assert "damaged" in warnings[0]


def _forge(path, name, change, *, compression=zipfile.ZIP_STORED):
    """Changes the content of one array of a whole file, its checksum included."""
    with zipfile.ZipFile(path) as file:
        content = {entry: file.read(entry) for entry in file.namelist()}
    content[f"{name}.npy"] = change(content[f"{name}.npy"])
    with zipfile.ZipFile(path, "w", compression) as file:
        for entry, data in content.items():
            file.writestr(entry, data)


def _array(shape):
    """An array's header that says a shape, and its real values."""

    def change(content):
        file = io.BytesIO()
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        return file.getvalue() + content[-8:]

    return change


def _meta(**values):
    def change(content):
        said = json.loads(np.load(io.BytesIO(content)).tobytes())
        text = json.dumps({**said, **values}).encode()
        file = io.BytesIO()
        np.save(file, np.frombuffer(text, np.uint8))
        return file.getvalue()

    return change


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("model/0", _array((10**13,)), r"shape \(10000000000000,\), and has 8 bytes"),
        ("model/0", _array((2**62, 4)), "and has 8 bytes"),
        ("model/0", _array((-1, -2)), "and has 8 bytes"),
        ("model/0", _array((1,)), "and has 8 bytes"),
        ("checkpoint.json", _meta(step="x"), "step 'x' is not that of the file's name"),
        ("checkpoint.json", _meta(step=True), "step True is not"),
        ("checkpoint.json", _meta(step=7), "step 7 is not"),
        ("checkpoint.json", _meta(record=5), "record is 5, no object"),
        ("checkpoint.json", _meta(variables={"model": -1}), "not a count for each group"),
        ("checkpoint.json", _meta(variables={"model": True}), "not a count for each group"),
        ("checkpoint.json", _meta(variables=[1]), "not a count for each group"),
        ("checkpoint.json", _meta(variables={"model": 1}), "the file holds 2 arrays"),
        ("checkpoint.json", _meta(variables={"model": 10**13}), "the file holds 2 arrays"),
        ("checkpoint.json", _meta(format="x"), "format 'x' is no number"),
    ],
)
def test_a_forged_one_is_set_aside(tmp_path, name, change, said):
    folder = CheckpointFolder(tmp_path)
    folder.save(_state(1))
    path = folder.save(_state(2))
    _forge(path, name, lambda content: content)
    assert folder.restore(warn=pytest.fail).step == 2
    _forge(path, name, change)
    warnings = []
    assert folder.restore(warn=warnings.append).step == 1
    (warning,) = warnings
    assert re.search(said, warning)
    assert not path.exists()


def test_one_that_is_packed_is_set_aside(tmp_path):
    folder = CheckpointFolder(tmp_path)
    path = folder.save(_state(2))
    _forge(path, "model/0", lambda content: content, compression=zipfile.ZIP_DEFLATED)
    warnings = []
    assert folder.restore(warn=warnings.append) is None
    assert "is packed" in warnings[0]


def test_after_damage_to_all_of_them_progress_is_saved_again(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in (700, 800):
        folder.save(_state(step)).write_bytes(b"no zip file")
    warnings = []
    assert folder.restore(warn=warnings.append) is None
    assert len(warnings) == 2
    for step in (5, 10, 15):
        folder.save(_state(step))
    assert folder.steps() == [10, 15]
    aside = sorted(path.name for path in tmp_path.glob("damaged-*"))
    assert aside == ["damaged-step-000000700.npz", "damaged-step-000000800.npz"]
    assert folder.restore(warn=pytest.fail).step == 15


def test_progress_is_saved_where_damaged_ones_cannot_be_renamed(tmp_path, monkeypatch):
    """As those of another user in a folder whose sticky bit is set, or where nothing may go."""
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in (700, 800, 900):
        folder.save(_state(step))
    for step in folder.steps():
        (tmp_path / f"step-{step:09d}.npz").write_bytes(b"no zip file")

    def refused(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        patch.setattr(type(epath.Path(tmp_path)), "replace", refused)
        assert folder.restore(warn=lambda text: None) is None
    for step in (5, 10, 15):
        folder.save(_state(step))
    assert folder.steps() == [10, 15, 800, 900]
    assert folder.restore(warn=lambda text: None).step == 15


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_what_cannot_be_read_is_not_taken_for_damaged(tmp_path, monkeypatch, number):
    folder = CheckpointFolder(tmp_path)
    folder.save(_state(1))
    folder.save(_state(2))
    before = sorted(path.name for path in tmp_path.iterdir())

    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    # Permission is refused on opening, a failing disk on reading.
    monkeypatch.setattr(
        *((builtins, "open") if number == errno.EACCES else (zipfile, "ZipFile")), refused
    )
    with pytest.raises(
        CheckpointError, match=r"step-000000002\.npz cannot be read .*Make it readable"
    ):
        folder.restore(warn=pytest.fail)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_one_of_a_newer_version_is_not_taken_for_damaged(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    monkeypatch.setattr(checkpoint, "_FORMAT", 2)
    folder.save(_state(1))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"step-000000001\.npz is of format 2, .* reads 1"):
        folder.restore(warn=pytest.fail)
    assert folder.steps() == [1]


def test_a_pipe_in_place_of_a_checkpoint_is_set_aside(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(_state(1))
    warnings = []
    with named_pipe(tmp_path / "step-000000002.npz"):
        assert folder.restore(warn=warnings.append).step == 1
    assert "is a named pipe" in warnings[0]


@pytest.mark.parametrize("word", ["", "0123abcd-77-89abcdef-"])
def test_what_a_killed_process_left_is_ignored_and_removed(tmp_path, word):
    folder = CheckpointFolder(tmp_path)
    folder.save(_state(1))
    left = tmp_path / f".partial-{word}step-000000002.npz"
    left.write_bytes(b"half")
    assert folder.restore(warn=pytest.fail).step == 1
    folder.save(_state(3))
    assert not left.exists()


def test_a_full_disk_keeps_the_earlier_checkpoints(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    folder.save(_state(1))

    def full(file, **_):
        file.write(b"some bytes")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*free some space"):
        folder.save(_state(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.npz"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file/checkpoints"):
        CheckpointFolder(tmp_path / "file" / "checkpoints")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    folder = CheckpointFolder(tmp_path)
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(CheckpointError, match="fix the folder"):
        folder.save(_state(1))


def test_another_network_is_refused():
    state = take_state(_model(width=4), step=0)
    with pytest.raises(CheckpointError, match="of another network"):
        put_state(_model(width=5), state)


def test_another_optimizer_is_refused():
    state = take_state(_model(), step=0)
    other = _model()
    other.compile(optimizer="sgd", loss="mse")
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(CheckpointError, match="optimizer variables"):
        put_state(other, state)


class _InBucket:
    """A place in a bucket whose client raises what it likes."""

    def __init__(self, error):
        self._error = error

    def __fspath__(self):
        return "gs://bucket/step-000000001.npz"

    def copy(self, place, overwrite):
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (tf.errors.NotFoundError(None, None, "gone"), FileNotFoundError),
        (tf.errors.UnavailableError(None, None, "later"), OSError),
        (tf.errors.PermissionDeniedError(None, None, "403"), OSError),
    ],
)
def test_a_bucket_that_refuses_is_an_os_error(error, kind):
    with pytest.raises(OSError, match=error.message) as raised:
        checkpoint._read(_InBucket(error))
    assert type(raised.value) is kind
    assert "/tmp" not in str(raised.value)
