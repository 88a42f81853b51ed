"""The flag of the commands that take an experiment. Whoever imports several of them has it once."""

from absl import flags

from pipelines.cli.place_flags import define_place
from pix2seq_model.errors import ConfigError

define_place(
    "config",
    "",
    "File of the experiment, such as configs/full.py:vit_b,640. It is Python and is run: read one "
    "that others wrote.",
    # What stands behind the colon is the config's own affair: a job file is written without a
    # network.
    asked=False,
)


def config_given(*, default: str = "") -> str:
    """The value of --config, else `default`.

    Raises:
      ConfigError: there is neither.
    """
    given = flags.FLAGS["config"].value or default
    if not given:
        raise ConfigError("--config is missing: name an experiment, such as configs/demo.py.")
    return given
