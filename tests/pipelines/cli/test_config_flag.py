"""One flag for several commands."""

import pytest
from absl.testing import flagsaver

# Each once defined --config itself, so that no process could import two of them.
from pipelines import estimate, run_pipeline, show_config
from pipelines.cli.config_flag import config_given
from pix2seq_model.errors import ConfigError


def test_commands_share_it():
    for command in (estimate, run_pipeline, show_config):
        if not command.FLAGS.is_parsed():
            command.FLAGS.mark_as_parsed()
        with flagsaver.flagsaver(config="configs/demo.py"):
            assert command.FLAGS.config == config_given() == "configs/demo.py"


def test_none_is_given():
    assert config_given(default="configs/ablation.py") == "configs/ablation.py"
    with pytest.raises(ConfigError, match="--config is missing: name an experiment"):
        config_given()
