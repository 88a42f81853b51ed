import subprocess
import sys

import pytest

from configs import base
from pix2seq_model.errors import ConfigError
from pix2seq_model.input_pipeline.settings import Augmentation
from pix2seq_model.tokens.settings import SequenceSettings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_objects", 0),
        ("order", "size"),
        ("class_corruption", "rand_n_fake"),
        ("padding_weight", -0.1),
        ("near_duplicate_std", float("nan")),
    ],
)
def test_wrong_sequence_settings_are_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=rf"sequence\.{field}"):
        SequenceSettings(**{field: value})


@pytest.mark.parametrize("scales", [(2.0, 1.0), (0.0, 1.0), (-1.0, 1.0)])
def test_wrong_scales_are_refused(scales):
    with pytest.raises(ConfigError, match=r"augmentation\.scale_min"):
        Augmentation(scale_min=scales[0], scale_max=scales[1])


def test_the_configs_sections_have_these_fields_and_the_published_values():
    stage = base.stage()
    assert Augmentation(**stage.augmentation.to_dict()) == Augmentation()
    assert SequenceSettings(**stage.sequence.to_dict()) == SequenceSettings()


def test_settings_need_no_tensorflow():
    code = (
        "import sys, pix2seq_model.input_pipeline.settings; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
