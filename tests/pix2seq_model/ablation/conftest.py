"""A summary that several modules look at."""

import json

import pytest

from pix2seq_model.ablation.summary import summarize
from pix2seq_model.ablation.trials import plan_trials
from tests.fixtures import tiny_run
from tests.fixtures.small_ablation import result_of, small_config


@pytest.fixture(scope="session")
def summary(tmp_path_factory):
    """Bins 8 and 32 with two seeds; nobody trained anything."""
    folder = tmp_path_factory.mktemp("ablation")
    examples = {"finetune": tiny_run.write_examples(folder / "data", splits=("train", "val"))}
    config = small_config(seeds=(0, 1), bins=(8, 32), end_token_offsets=(0.0, -3.0))
    aps = {(8, 0): 0.1, (8, 1): 0.14, (32, 0): 0.3, (32, 1): 0.2}
    results = [
        result_of(trial, aps[trial.num_bins, trial.seed], (0.0, -3.0))
        for trial in plan_trials(config)
    ]
    for result in results:
        model = folder / "trials" / result.trial.name / "model"
        model.mkdir(parents=True)
        hardware = {"devices": ["cpu:0"], "cpu_count": 2, "backend": "tensorflow"}
        run = {"hardware": hardware, "packages": {}, "finished_at": "2026-01-01T00:00:00+00:00"}
        (model / "run.json").write_text(json.dumps(run))
    return summarize(config, results, examples=examples, output_dir=folder)
