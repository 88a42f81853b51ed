"""The score that a model's own file names."""

import pytest

from pix2seq_model.errors import ModelError
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


@pytest.mark.parametrize("content", ["{", "{}", '{"overall": {"threshold": 7}}', "[1]"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / THRESHOLDS_FILE).write_text(content)
    with pytest.raises(ModelError, match=rf"{THRESHOLDS_FILE} is damaged"):
        default_score(tmp_path)
