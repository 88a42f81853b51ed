"""A step is traced once for what it depends on, and again when that changes."""

import subprocess

import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.training import step_cache
from pix2seq_model.training.step_cache import step_costs
from tests.fixtures.step_costs import costs
from tests.fixtures.tiny_config import config


@pytest.fixture
def traces(monkeypatch, tmp_path):
    """The runs that were traced."""
    asked = []

    def trace(run, how):
        asked.append((run.settings, how))
        return costs(each_gib=len(asked)).to_json()

    monkeypatch.setattr(step_cache, "_traced", trace)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return asked


def run(**settings):
    tiny = config(**settings)
    tiny.data.finetune.annotations.train = tiny.data.finetune.annotations.val = "a.json"
    return training_run(tiny, "finetune")


def test_the_second_time_it_comes_from_disk(traces):
    first = step_costs(run(), flash_attention=False, processor=False)
    # Neither the batch nor its parts change what an image takes.
    assert (
        step_costs(run(batch_size=8, accumulation_steps=2), flash_attention=False, processor=False)
        == first
    )
    assert len(traces) == 1
    assert traces[0][0].accumulation_steps == 1


def test_what_shapes_the_step_is_traced_again(traces):
    for settings in ({}, {"activation_checkpointing": "layers"}, {"image_size": (64, 64)}):
        step_costs(run(**settings), flash_attention=False, processor=False)
    step_costs(run(), flash_attention=True, processor=False)
    step_costs(run(), flash_attention=False, processor=True)
    assert len(traces) == 5


def test_a_damaged_file_is_traced_again(traces, tmp_path):
    step_costs(run(), flash_attention=False, processor=False)
    (file,) = tmp_path.rglob("*.json")
    file.write_text("{")
    assert step_costs(run(), flash_attention=False, processor=False) == costs(each_gib=2)


def test_a_trace_that_fails_names_the_remedy(monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess([], 1, b"", b"No module named 'jax'")
    monkeypatch.setattr(step_cache.subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"No module named 'jax'.*requirements/jax\.txt"):
        step_costs(run(), flash_attention=False, processor=False)
