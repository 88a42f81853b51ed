"""The score that a model's own file names."""

import re

import pytest

from pix2seq_model.model_folder.thresholds import (
    DEFAULT_SCORE,
    THRESHOLDS_FILE,
    default_score,
    write_thresholds,
)


def test_a_pushed_version_names_its_score(tmp_path):
    assert default_score(tmp_path) == DEFAULT_SCORE
    write_thresholds(tmp_path, {"overall": {"threshold": 0.42}, "classes": []})
    assert default_score(tmp_path) == 0.42
    write_thresholds(tmp_path, {"overall": None, "classes": []})
    assert default_score(tmp_path) == DEFAULT_SCORE


@pytest.mark.parametrize(
    "content",
    [
        *("{", "{}", "[1]", '{"overall": {"threshold": 7}}', '{"overall": {"threshold": "x"}}'),
        *('{"overall": {"threshold": NaN}}', '{"overall": {"threshold": 1' + "0" * 400 + "}}"),
    ],
)
def test_a_damaged_file_is_named_and_holds_up_nobody(tmp_path, capsys, content):
    (tmp_path / THRESHOLDS_FILE).write_text(content)
    assert default_score(tmp_path) == DEFAULT_SCORE
    said = capsys.readouterr().err
    assert re.match(rf"warning: .*{THRESHOLDS_FILE} is damaged .*push the model again", said)


def test_a_folder_in_its_place_holds_up_nobody(tmp_path, capsys):
    (tmp_path / THRESHOLDS_FILE).mkdir()
    assert default_score(tmp_path) == DEFAULT_SCORE
    assert "is a folder" in capsys.readouterr().err
