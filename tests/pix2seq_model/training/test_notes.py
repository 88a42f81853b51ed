"""Notes of a run that are damaged: what is lost with them, and what goes on."""

import json

import pytest
from etils import epath

from pix2seq_model.errors import CheckpointError
from pix2seq_model.training.notes import read_rows
from pix2seq_model.training.run_record import check_same_run


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[1]", "7", '[{"image": 1}]', "[" * 100_000, '{"batch": 1}'),
        *('[{"batch": "3"}]', '[{"batch": null}]', '[{"batch": [3]}]', '[{"batch": true}]'),
    ],
)
def test_a_damaged_list_is_set_aside(tmp_path, content):
    path, said = epath.Path(tmp_path) / "rows.json", []
    path.write_text(content)
    assert read_rows(path, keys={"batch": int}, say=said.append) == []
    assert "rows.json is damaged" in said[0]
    assert [file.name for file in tmp_path.iterdir()] == ["rows.json.damaged"]


def test_a_whole_list_is_read(tmp_path):
    path = epath.Path(tmp_path) / "rows.json"
    assert read_rows(path, keys={"batch": int}, say=print) == []
    path.write_text(json.dumps([{"batch": 3, "step": 1}]))
    assert read_rows(path, keys={"batch": int}, say=print) == [{"batch": 3, "step": 1}]
    assert read_rows(None, keys={"batch": int}, say=print) == []


@pytest.mark.parametrize("content", ["", "{", "[1]", "7"])
def test_a_damaged_identity_says_what_to_do(tmp_path, content):
    check_same_run(tmp_path, {"seed": 1})
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/step-000000003.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"{path} is damaged .* remove that file"):
        check_same_run(tmp_path, {"seed": 1})


def test_a_damaged_identity_without_checkpoints_is_written_again(tmp_path):
    (tmp_path / "run_identity.json").write_text("{")
    check_same_run(tmp_path, {"seed": 1})
    assert json.loads((tmp_path / "run_identity.json").read_text()) == {"seed": 1}
