"""The smallest ablation, and results that nobody trained for."""

import dataclasses

from pix2seq_model.ablation.settings import AblationSettings
from pix2seq_model.ablation.trials import TrialResult
from tests.fixtures import tiny_run


def small_config(**section):
    """Two trials: the usual one, which answers all three questions, and one without noise."""
    config = tiny_run.config(jit_compile="off")
    with config.unlocked():
        config.ablation = {
            **dataclasses.asdict(AblationSettings()),
            "seeds": (0,),
            "bins": (32,),
            "orders": ("random",),
            "end_token_offsets": (0.0,),
            "pretrained": (),
            **section,
        }
    return config


def result_of(trial, ap, offsets=(0.0,)):
    metrics = {o: {"AP": ap - o / 100, "AP50": 2 * ap, "AR100": 3 * ap} for o in offsets}
    return TrialResult(
        trial=trial, metrics=metrics, seconds=60.0, weights_sha256="", identity={"data": "d"}
    )
