"""A model that the page does not show is refused with what to do."""

import pytest

from pix2seq_model.api import find_model
from pix2seq_model.errors import ConfigError, ModelError
from pix2seq_model.web_demo.kinds import SHOWN_KINDS, require_shown_kind


@pytest.mark.parametrize(
    ("kind", "fix"),
    [("checkpoint", "import_checkpoint.py"), ("ONNX", "the model folder that it was exported")],
)
def test_each_kind_has_its_own_fix(kind, fix):
    with pytest.raises(ConfigError, match=f"x: the page shows .* of the kind {kind}") as raised:
        require_shown_kind(kind, "x")
    assert fix in str(raised.value)
    assert ("import it" in str(raised.value)) == (kind == "checkpoint")


def test_what_is_shown_is_taken():
    for kind in SHOWN_KINDS:
        require_shown_kind(kind, "x")


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_place_without_a_model_is_answered_with_the_kinds_that_are_shown(name, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"a model folder .*, or a SavedModel \(") as raised:
        find_model(str(tmp_path / name), kinds=SHOWN_KINDS)
    assert "checkpoint" not in str(raised.value)
    assert "onnx" not in str(raised.value)
