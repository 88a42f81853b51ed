"""A SavedModel that this project did not lay out is run on a person's word alone."""

import pytest

from pix2seq_model.argument_names import called_as_flags
from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder.pushed import EXPORT_FILE
from pix2seq_model.model_folder.trust import require_trust


def test_a_stranger_needs_a_word(tmp_path):
    with pytest.raises(ModelError, match=r"is a program.*give trust=True if you know"):
        require_trust(tmp_path, trust=False)
    with (
        called_as_flags(["trust"]),
        pytest.raises(ModelError, match="give --trust if you know"),
    ):
        require_trust(tmp_path, trust=False)
    require_trust(tmp_path, trust=True)


def test_our_own_layout_does_not(tmp_path):
    (tmp_path / EXPORT_FILE).parent.mkdir()
    (tmp_path / EXPORT_FILE).write_text("{}")
    require_trust(tmp_path, trust=False)
