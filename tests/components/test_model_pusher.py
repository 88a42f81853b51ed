"""Versions, identity and half-made copies; the executor with TFX's artifacts."""

import contextlib
import errno
import json
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import ClassVar

import pytest
import tensorflow as tf
from etils import epath
from tfx.types import standard_artifacts

from components import model_pusher
from components.model_pusher import ModelPusher, push_model
from pix2seq_model.atomic_write import write_json
from pix2seq_model.bucket_file import ChangedError
from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder.pushed import find_model_folder
from pix2seq_model.model_folder.thresholds import default_score
from tests.fixtures.epath_bucket import epath_bucket
from tests.fixtures.stored_object import stored_object


def write_model(folder: Path, content: str = "a") -> str:
    serving = folder / "Format-Serving"
    (serving / "variables").mkdir(parents=True)
    (serving / "saved_model.pb").write_text(content)
    (serving / "variables" / "variables.index").write_text("v")
    (serving / "assets.extra").mkdir()
    (serving / "assets.extra" / "export.json").write_text('{"seed": 0}')
    (folder / "history").mkdir()
    (folder / "history" / "finetune.jsonl").write_text("{}")
    (folder / "model.weights.h5").write_text(content)
    (folder / "model.json").write_text(json.dumps({"weights_sha256": content}))
    return str(folder)


def test_push_copies_the_saved_model_to_a_numbered_version(tmp_path):
    record = push_model(write_model(tmp_path / "model"), str(tmp_path / "served"))
    version = tmp_path / "served" / str(record["version"])
    assert re.fullmatch(r"\d{17}", version.name)
    assert (version / "saved_model.pb").read_text() == "a"
    assert (version / "variables" / "variables.index").read_text() == "v"
    assert json.loads((version / "pushed.json").read_text())["path"] == str(version)
    assert not record["already_there"]


def test_a_pushed_model_stays_where_it_is(tmp_path):
    model = write_model(tmp_path / "model")
    first = push_model(model, str(tmp_path / "served"))
    again = push_model(model, str(tmp_path / "served"))
    assert again["already_there"]
    assert again["version"] == first["version"]
    assert len(list((tmp_path / "served").iterdir())) == 1


def test_a_version_is_the_model_folder_too(tmp_path):
    record = push_model(write_model(tmp_path / "model"), str(tmp_path / "served"))
    version = Path(record["path"])
    shutil.rmtree(tmp_path / "model")
    moved = shutil.copytree(version, tmp_path / "elsewhere")
    shutil.rmtree(version)
    assert find_model_folder(moved) == str(moved)
    names = ("model.json", "model.weights.h5", "history/finetune.jsonl", "saved_model.pb")
    assert all((moved / name).read_text() for name in names)
    assert not (moved / "Format-Serving").exists()


def test_names_in_a_graph_make_no_other_model_but_settings_and_weights_do(tmp_path):
    model = tmp_path / "model"
    write_model(model)
    first = push_model(str(model), str(tmp_path / "served"))["version"]
    serving = model / "Format-Serving"
    (serving / "saved_model.pb").write_text("the same, with functions numbered otherwise")
    assert push_model(str(model), str(tmp_path / "served"))["already_there"]
    (serving / "assets.extra" / "export.json").write_text('{"seed": 1}')
    second = push_model(str(model), str(tmp_path / "served"))["version"]
    (model / "model.json").write_text('{"weights_sha256": "b"}')
    third = push_model(str(model), str(tmp_path / "served"))["version"]
    assert first < second < third


def test_a_moved_destination_names_its_own_place(tmp_path):
    model = write_model(tmp_path / "model")
    push_model(model, str(tmp_path / "served"))
    (tmp_path / "served").rename(tmp_path / "moved")
    again = push_model(model, str(tmp_path / "moved"))
    assert again["already_there"]
    assert Path(again["path"]).parent == tmp_path / "moved"


def test_pushes_within_one_moment_get_rising_versions(tmp_path):
    versions = [
        push_model(write_model(tmp_path / name, name), str(tmp_path / "served"))["version"]
        for name in "abcde"
    ]
    assert versions == sorted(set(versions))
    assert {p.name for p in (tmp_path / "served").iterdir()} == {str(v) for v in versions}


def test_an_earlier_model_is_pushed_again_above_the_newest(tmp_path):
    first, second = (write_model(tmp_path / name, name) for name in "ab")
    versions = [push_model(m, str(tmp_path / "served"))["version"] for m in (first, second, first)]
    assert versions == sorted(set(versions))


def test_versions_of_another_program_are_respected(tmp_path):
    (tmp_path / "served" / "99999999999999999").mkdir(parents=True)
    record = push_model(write_model(tmp_path / "model"), str(tmp_path / "served"))
    assert record["version"] == 100000000000000000


def test_a_version_taken_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    """Another push finishes while this one copies."""
    copy_dir = model_pusher.io_utils.copy_dir

    def slow_copy(source, target):
        copy_dir(source, target)
        taken = Path(target).name.lstrip(".").partition("-")[0]
        (tmp_path / "served" / taken).mkdir()
        (tmp_path / "served" / taken / "saved_model.pb").write_text("other")

    monkeypatch.setattr(model_pusher.io_utils, "copy_dir", slow_copy)
    record = push_model(write_model(tmp_path / "model"), str(tmp_path / "served"))
    other = tmp_path / "served" / str(record["version"] - 1)
    assert (other / "saved_model.pb").read_text() == "other"
    pushed = json.loads((Path(record["path"]) / "pushed.json").read_text())
    assert pushed["version"] == record["version"]


def test_folder_without_saved_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="holds no SavedModel"):
        push_model(str(tmp_path), str(tmp_path / "served"))


def test_destination_that_cannot_be_written_names_the_setting(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"push\.destination .*/file/served cannot be written"):
        push_model(write_model(tmp_path / "model"), str(tmp_path / "file" / "served"))


@pytest.mark.parametrize("blessed", [True, False])
def test_executor_pushes_what_is_blessed(tmp_path, blessed, monkeypatch):
    model, blessing, pushed = (
        standard_artifacts.Model(),
        standard_artifacts.ModelBlessing(),
        standard_artifacts.PushedModel(),
    )
    model.uri = write_model(tmp_path / "model")
    pushed.uri = str(tmp_path / "pushed")
    blessing.set_int_custom_property("blessed", int(blessed))
    evaluation = standard_artifacts.ModelEvaluation()
    evaluation.uri = str(tmp_path / "evaluation")
    (tmp_path / "evaluation").mkdir()
    thresholds = {"overall": {"threshold": 0.25}, "classes": []}
    metrics = {"AP": 0.5, "AP_small": -1.0, "split": "val", "score_thresholds": thresholds}
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    registered = []

    def register(*arguments):
        registered.append(arguments)
        return {"model": "models/3@2"}

    monkeypatch.setattr(model_pusher.vertex_registry, "register", register)
    ModelPusher.test_call(
        model=model,
        model_blessing=blessing,
        evaluation=evaluation,
        pushed_model=pushed,
        destination=str(tmp_path / "served"),
        registry='{"name": "boxes"}',
    )
    assert pushed.get_int_custom_property("pushed") == int(blessed)
    assert (tmp_path / "served").exists() == blessed
    if blessed:
        record = json.loads((tmp_path / "pushed" / "pushed.json").read_text())
        assert pushed.get_string_custom_property("pushed_destination") == record["path"]
        assert [arguments[1:] for arguments in registered] == [({"name": "boxes"}, {"AP": 0.5})]
        assert pushed.get_string_custom_property("model") == "models/3@2"
        assert default_score(record["path"]) == 0.25
    else:
        assert not registered


@pytest.mark.parametrize("content", ["{", "[]", "{}", "[" * 200_000])
def test_a_damaged_record_of_the_newest_version_holds_up_no_push(tmp_path, capsys, content):
    model = write_model(tmp_path / "model")
    first = push_model(model, str(tmp_path / "served"))
    Path(first["path"], "pushed.json").write_text(content)
    again = push_model(model, str(tmp_path / "served"))
    assert again["version"] > first["version"]
    assert not again["already_there"]
    said = capsys.readouterr().out
    assert f"{first['path']}/pushed.json" in said
    assert "pushed as a new version" in said


def _left(served: Path, *, host: str, process: int, word: str = "", hours: float = 0.0) -> Path:
    """What an interrupted push leaves, `hours` old."""
    folder = served / f".20260314150926535{host}-{process}{word}.partial"
    (folder / "variables").mkdir(parents=True)
    file = folder / "variables" / "variables.index"
    file.write_text("half")
    for path in (file, file.parent, folder):
        os.utime(path, (time.time() - hours * 3600,) * 2)
    return folder


def test_the_next_push_removes_what_interrupted_ones_left(tmp_path):
    served, here = tmp_path / "served", f"-{platform.node()}"
    ended = subprocess.Popen(["true"])
    ended.wait()
    gone = [
        _left(served, host=here, process=ended.pid, hours=0.2),
        # As earlier versions of the project named them: of whichever machine.
        _left(served, host="", process=ended.pid, hours=25),
        # A container that is started again has its processes' numbers again.
        _left(served, host=here, process=os.getpid(), word=".0123abcd", hours=0.2),
        _left(served, host="-another-machine", process=os.getpid(), hours=25),
    ]
    kept = [
        _left(served, host=here, process=os.getppid(), hours=30),
        # Processes of another container on this machine's network, which has its name.
        _left(served, host=here, process=ended.pid, word=".0123abcd", hours=0.1),
        _left(served, host=here, process=os.getpid(), hours=0.1),
        _left(served, host="-another-machine", process=ended.pid, hours=1),
        _left(served, host="", process=os.getppid()),
    ]
    assert not push_model(write_model(tmp_path / "model"), str(served))["already_there"]
    assert not any(map(Path.exists, gone))
    assert all(map(Path.exists, kept))


def test_a_push_beside_another_of_this_process_leaves_its_copy(tmp_path, monkeypatch):
    served = tmp_path / "served"
    copy_file = model_pusher.io_utils.copy_file

    def copy_while_another_pushes(source, target):
        monkeypatch.undo()
        push_model(write_model(tmp_path / "other", "b"), str(served))
        copy_file(source, target)

    monkeypatch.setattr(model_pusher.io_utils, "copy_file", copy_while_another_pushes)
    record = push_model(write_model(tmp_path / "model"), str(served))
    assert Path(record["path"], "model.json").exists()
    assert len(list(served.iterdir())) == 2


@pytest.mark.parametrize(
    "full",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "variables.index; No space left on device"),
    ],
)
@pytest.mark.parametrize("copied_first", [False, True])
def test_a_full_destination_is_named_and_keeps_nothing(tmp_path, monkeypatch, full, copied_first):
    model, served = write_model(tmp_path / "model"), tmp_path / "served"
    # TensorFlow's copy has an error of its own, as the write of a small file has Python's.
    copy_dir = model_pusher.io_utils.copy_dir

    def refuse(source, target):
        if copied_first:
            copy_dir(source, target)
        raise full

    monkeypatch.setattr(model_pusher.io_utils, "copy_dir", refuse)
    with pytest.raises(ModelError, match=r"push\.destination .*/served .*No space.*free some"):
        push_model(model, str(served))
    assert not list(served.iterdir())
    monkeypatch.undo()
    assert not push_model(model, str(served))["already_there"]


@pytest.mark.parametrize("number", range(4))
def test_a_version_of_which_a_file_cannot_be_renamed_is_none(tmp_path, monkeypatch, number):
    """As in a bucket, where each file is renamed by itself."""
    hidden, version = tmp_path / "hidden", tmp_path / "1"
    for folder in (hidden, version):
        (folder / "variables").mkdir(parents=True)
    for name in ("model.json", "saved_model.pb", "pushed.json", "variables/variables.index"):
        (hidden / name).write_text(name)
    kind, order = type(epath.Path("/x")), []
    rename = kind.rename

    def one_is_refused(self, target):
        if len(order) == number:
            raise tf.errors.UnavailableError(None, None, "the bucket does not answer")
        order.append(self.name)
        return rename(self, target)

    monkeypatch.setattr(kind, "rename", one_is_refused)
    with pytest.raises(tf.errors.UnavailableError):
        model_pusher._rename_files(epath.Path(hidden), epath.Path(version))
    assert order == ["variables.index", "model.json", "saved_model.pb"][:number]
    assert not [path for path in version.rglob("*") if path.is_file()]


class _OnlyOnce:
    """An object of a bucket that is written where there is none."""

    there: ClassVar[set[str]] = set()

    def __init__(self, address):
        self._address = address

    def write(self, text, *, over):
        assert over == 0
        if self._address in self.there:
            raise ChangedError(text)
        self.there.add(self._address)
        return 1

    def delete(self, *, over):
        assert over == 1
        self.there.remove(self._address)


@pytest.mark.parametrize("fails", [False, True])
def test_in_a_bucket_two_pushes_of_one_moment_share_no_version(tmp_path, monkeypatch, fails):
    """The second begins when the first has found its version free, before its first file."""
    monkeypatch.setattr(model_pusher, "BucketFile", _OnlyOnce)
    target, rename = epath.Path("gs://served"), model_pusher._rename
    rename_file = type(target).rename
    names = ("model.json", "saved_model.pb", "variables/variables.index")
    records = {}

    def push(who):
        for name in names:
            write_json(target / who / name, who)
        records[who] = model_pusher._take_version(target / who, target, version=7, by=who)

    def rename_after_the_other(hidden, version):
        monkeypatch.setattr(model_pusher, "_rename", rename)
        push("second")
        with monkeypatch.context() as patch:
            if fails:
                patch.setattr(type(target), "rename", refuse_the_second_file)
            rename(hidden, version)

    def refuse_the_second_file(self, target, count=iter(range(9))):  # noqa: B008
        if next(count) == 1:
            raise tf.errors.UnavailableError(None, None, "the bucket does not answer")
        return rename_file(self, target)

    with epath_bucket(monkeypatch, tmp_path):
        monkeypatch.setattr(model_pusher, "_rename", rename_after_the_other)
        with pytest.raises(tf.errors.UnavailableError) if fails else contextlib.nullcontext():
            push("first")
    assert set(records) == ({"second"} if fails else {"first", "second"})
    for who, record in records.items():
        version = tmp_path / "served" / str(record["version"])
        assert json.loads((version / "pushed.json").read_text())["by"] == who
        assert {(version / name).read_text() for name in names} == {f'"{who}"'}
    assert not _OnlyOnce.there


def test_a_version_in_a_bucket_is_claimed_by_one(monkeypatch):
    """As Google's own client asks for it."""
    claim = model_pusher._claim
    target = epath.Path("gs://data/served")
    with stored_object(monkeypatch, "data", "served/.7-claim-0.partial/claim") as stored:
        with claim(target, 7) as first, claim(target, 7) as second:
            assert (first, second) == (True, False)
            assert stored.content
        assert stored.content is None
        with pytest.raises(OSError, match="refused"), claim(target, 7):
            raise OSError("refused")
        assert stored.content is None
    # What a killed push leaves of it counts among the copies in the making.
    assert model_pusher._PARTIAL.fullmatch(".7-claim-0.partial")
