"""A config: loaded, overridden, and turned into the checked settings of the rooms."""

from pix2seq_model.experiment.loading import load_config

__all__ = ["load_config"]
