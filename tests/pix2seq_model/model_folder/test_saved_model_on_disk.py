"""Where a SavedModel is written: an export that fails, is killed, or finds a disk full."""

import errno
from pathlib import Path

import pytest
import tensorflow as tf
from etils import epath

from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder import saved_model
from pix2seq_model.model_folder.saved_model import export_saved_model
from tests.fixtures import tiny_model
from tests.fixtures.evaluated_model import CATEGORIES

FULL = OSError(errno.ENOSPC, "No space left on device")
FULL_TO_TENSORFLOW = tf.errors.ResourceExhaustedError(None, None, "x; No space left on device")


def _content(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _fails_at(monkeypatch, name, calls):
    """Makes the method of a path fail from the call of this number on."""
    original, count = getattr(epath.Path, name), iter(range(100))

    def fails(self, *arguments, **options):
        if next(count) == calls:
            raise FULL
        return original(self, *arguments, **options)

    monkeypatch.setattr(epath.Path("/x").__class__, name, fails)


@pytest.fixture(scope="module")
def network():
    return tiny_model.network()


@pytest.fixture
def small(tmp_path):
    """What an export is made of, small; and where an older one stands."""
    fresh = tmp_path / "scratch" / "model"
    (fresh / "variables").mkdir(parents=True)
    (fresh / "saved_model.pb").write_text("new")
    (fresh / "variables" / "variables.index").write_text("new")
    target = tmp_path / "model" / "Format-Serving"
    target.mkdir(parents=True)
    (target / "saved_model.pb").write_text("old")
    (target / "assets").mkdir()
    (target / "assets" / "words").write_text("old")
    return fresh, target


@pytest.mark.parametrize(("method", "calls"), [("copy", 0), ("copy", 1), ("rename", 0)])
def test_an_export_that_fails_leaves_the_old_one(small, monkeypatch, method, calls):
    fresh, target = small
    before = _content(target)
    _fails_at(monkeypatch, method, calls)
    with pytest.raises(OSError, match="No space"):
        saved_model._replace_folder(fresh, epath.Path(target))
    assert _content(target.parent) == {f"Format-Serving/{k}": v for k, v in before.items()}
    monkeypatch.undo()
    saved_model._replace_folder(fresh, epath.Path(target))
    assert _content(target) == _content(fresh)
    assert list(target.parent.iterdir()) == [target]


def test_the_second_name_refused_puts_the_old_one_back(small, monkeypatch):
    fresh, target = small
    before = _content(target)
    _fails_at(monkeypatch, "rename", 1)
    with pytest.raises(OSError, match="No space"):
        saved_model._replace_folder(fresh, epath.Path(target))
    assert _content(target.parent) == {f"Format-Serving/{k}": v for k, v in before.items()}


def test_what_a_killed_export_left_is_removed_and_the_old_one_put_back(small, monkeypatch):
    fresh, target = small
    before = _content(target)
    target.rename(target.parent / ".partial-old-Format-Serving")
    (target.parent / ".partial-new-Format-Serving").mkdir()
    _fails_at(monkeypatch, "copy", 0)
    with pytest.raises(OSError, match="No space"):
        saved_model._replace_folder(fresh, epath.Path(target))
    assert _content(target.parent) == {f"Format-Serving/{k}": v for k, v in before.items()}
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("full", [FULL, FULL_TO_TENSORFLOW])
@pytest.mark.parametrize("at", ["temporary folder", "graph", "output"])
def test_a_full_disk_is_one_message_and_the_same_call_succeeds_then(
    network, tmp_path, monkeypatch, at, full
):
    def save(module, place, signatures):
        """Of a graph nothing is looked at here."""
        Path(place).mkdir(parents=True)
        Path(place, "saved_model.pb").write_text("graph")

    def save_half(module, place, signatures):
        save(module, place, signatures)
        raise full

    def refuse(*_, **__):
        raise full

    def export():
        export_saved_model(
            network, tmp_path / "out", categories=CATEGORIES, settings=DecodeSettings(max_objects=3)
        )

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(saved_model.tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(tf.saved_model, "save", save)
    with monkeypatch.context() as refused:
        if at == "temporary folder":
            refused.setattr(saved_model.tempfile, "TemporaryDirectory", refuse)
        elif at == "graph":
            refused.setattr(tf.saved_model, "save", save_half)
        else:
            refused.setattr(epath.Path("/x").__class__, "copy", refuse)
        with pytest.raises(ModelError, match=r"out cannot be written .*No space.*same command"):
            export()
    assert list(tmp_path.iterdir()) == [scratch]
    assert not list(scratch.iterdir())
    export()
    assert (tmp_path / "out" / "saved_model.pb").read_text() == "graph"
