"""Where a SavedModel is written: an export that fails, is killed, or finds a disk full."""

import errno
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import tensorflow as tf
from etils import epath

from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder import saved_model
from pix2seq_model.model_folder.saved_model import export_saved_model
from tests.fixtures import tiny_model
from tests.fixtures.epath_bucket import epath_bucket
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
    """Makes the method of a path fail at the call of this number."""
    kind = type(epath.Path("/x"))  # `epath.Path` itself has methods that do nothing.
    original, count = getattr(kind, name), iter(range(100))

    def fails(self, *arguments, **options):
        if next(count) == calls:
            raise FULL
        return original(self, *arguments, **options)

    monkeypatch.setattr(kind, name, fails)


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


def _left_copy(target, word, *, hours):
    copy = target.parent / f".partial-new-{word}{target.name}"
    copy.mkdir()
    os.utime(copy, (time.time() - hours * 3600,) * 2)
    return copy


def test_what_a_killed_export_left_is_removed_and_the_old_one_put_back(small, monkeypatch):
    fresh, target = small
    before = _content(target)
    target.rename(target.parent / ".partial-old-Format-Serving")
    _left_copy(target, "", hours=0.2)
    _left_copy(target, f"{'0a' * 16}-", hours=0.2)
    _fails_at(monkeypatch, "copy", 0)
    with pytest.raises(OSError, match="No space"):
        saved_model._replace_folder(fresh, epath.Path(target))
    assert _content(target.parent) == {f"Format-Serving/{k}": v for k, v in before.items()}
    assert list(target.parent.iterdir()) == [target]


def test_an_export_to_the_folder_of_another_leaves_its_copy(small, monkeypatch):
    fresh, target = small
    recent = [_left_copy(target, word, hours=0.1) for word in ("", f"{'0a' * 16}-")]
    others = [_left_copy(target.parent / name, "", hours=9) for name in ("Other", "Serving")]
    kind, outer = type(epath.Path("/x")), [True]
    copy = kind.copy

    def copy_while_another_exports(self, place, overwrite=False):
        if outer:
            outer.pop()
            saved_model._replace_folder(fresh, epath.Path(target))
        return copy(self, place, overwrite=overwrite)

    monkeypatch.setattr(kind, "copy", copy_while_another_exports)
    saved_model._replace_folder(fresh, epath.Path(target))
    assert _content(target) == _content(fresh)
    assert set(target.parent.iterdir()) == {target, *recent, *others}


NO_ANSWER = tf.errors.UnavailableError(None, None, "the bucket does not answer")


def _refuses_from(patch, number, *, times):
    """A bucket that refuses `times` changes from that number on; how many were asked for."""
    asked = []

    def watched(method):
        def ask(self, *arguments, **options):
            asked.append(self)
            if number <= len(asked) < number + times:
                raise NO_ANSWER
            return method(self, *arguments, **options)

        return ask

    kind = epath.Path("/x").__class__
    for name in ("copy", "rename", "replace", "rmtree", "unlink"):
        patch.setattr(kind, name, watched(getattr(kind, name)))
    return asked


@pytest.mark.parametrize("times", [1, 100])
def test_whatever_a_bucket_refuses_a_whole_model_is_there(small, tmp_path, monkeypatch, times):
    source, older = small
    old, new, asked, number = _content(older), _content(source), [1], 0
    with epath_bucket(monkeypatch, tmp_path):
        while len(asked) > number:
            number += 1
            folder = tmp_path / f"bucket{number}"
            shutil.copytree(older, folder / "served")
            target = epath.Path(f"gs://{folder.name}/served")
            said = ""
            with monkeypatch.context() as patch:
                asked = _refuses_from(patch, number, times=times)
                try:
                    saved_model._replace_folder(source, target)
                except (ModelError, tf.errors.UnavailableError) as error:
                    said = str(error)
            if place := re.search(r"is whole in gs://(\S+):", said):
                assert "bucket does not answer" in said
                assert _content(tmp_path / place[1]) == new, number
            else:
                assert _content(folder / "served") == (old if said else new), number
            # The same command again.
            saved_model._replace_folder(source, target)
            assert _content(folder / "served") == new, number
    assert number > len(new)


def test_in_a_bucket_a_left_copy_is_removed_after_a_day(small, tmp_path, monkeypatch):
    source, older = small
    for hours in (23, 25):
        copy = _left_copy(older, f"{'0a' * 15}{hours}-", hours=hours) / "saved_model.pb"
        copy.write_text("half")
        os.utime(copy, (time.time() - hours * 3600,) * 2)
    with epath_bucket(monkeypatch, tmp_path):
        saved_model._replace_folder(source, epath.Path(f"gs://{older.parent.name}/{older.name}"))
    left = [path.name for path in older.parent.iterdir() if path != older]
    assert left == [f".partial-new-{'0a' * 15}23-{older.name}"]


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
