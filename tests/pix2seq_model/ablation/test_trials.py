"""Which trials an ablation has, and what is refused before any of them runs."""

import dataclasses

import pytest

from pix2seq_model.ablation.settings import DrawSettings
from pix2seq_model.ablation.trials import (
    Trial,
    base_of,
    plan_trials,
    read_result,
    trial_config,
    write_result,
)
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config
from tests.fixtures import tiny_run
from tests.fixtures.small_ablation import result_of, small_config


def test_the_committed_config_has_the_papers_trials():
    trials = plan_trials(load_config("configs/ablation.py"))
    assert len(trials) == len(set(trials)) == 2 + 3 * (1 + 3 + 5 + 1 + 2)
    for trial in trials:
        base = base_of(trial, trials)
        assert base is None or trials.index(base) < trials.index(trial)
    usual = Trial(num_bins=64, order="random", augmented=True, seed=1)
    assert trials.count(usual) == 1
    assert len({trial.name for trial in trials}) == len(trials)
    after = next(trial for trial in trials if trial.pretrained is False)
    assert base_of(after, trials).augmented is False


def test_without_offsets_the_third_question_is_not_asked():
    trials = plan_trials(small_config(end_token_offsets=(), pretrained=((True, True),)))
    assert trials == [Trial(num_bins=32, order="random", augmented=True, seed=0)]


def test_a_trial_changes_what_it_is_about_and_nothing_else():
    config = small_config()
    changed = trial_config(
        config, Trial(num_bins=8, order="area", augmented=False, seed=5)
    ).to_dict()
    assert changed["vocabulary"].pop("num_bins") == 8
    assert changed.pop("seed") == 5
    sequence = changed["finetune"]["sequence"]
    assert sequence.pop("order") == "area"
    assert sequence.pop("noise_objects") is False
    assert sequence.pop("class_corruption") == "none"
    expected = config.to_dict()
    del expected["vocabulary"]["num_bins"], expected["seed"]
    for name in ("order", "noise_objects", "class_corruption"):
        del expected["finetune"]["sequence"][name]
    assert changed == expected


def test_a_config_without_the_section_is_refused():
    with pytest.raises(ConfigError, match=r"no section `ablation`: start from configs/ablation.py"):
        plan_trials(tiny_run.config())


def test_results_are_read_as_they_were_written(tmp_path):
    trial = Trial(num_bins=8, order="area", augmented=True, pretrained=False, seed=1)
    result = result_of(trial, 0.25, (0.0, -3.0))
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"seeds": ()}, "ablation.seeds"),
        ({"seeds": (1, 1)}, "ablation.seeds"),
        ({"bins": (41,)}, r"ablation.bins=\(41,\) must be at most .* = 32"),
        ({"orders": ("size",)}, "ablation.orders='size' is none of 'random'"),
        ({"bins": (1,)}, "ablation.bins=.* must be at least 2"),
        ({"seeds": (-1,)}, "ablation.seeds=.* must be at least 0"),
        ({"end_token_offsets": (float("nan"),)}, "ablation.end_token_offsets=nan"),
        ({"pretrained": ((True,),)}, "ablation.pretrained"),
        ({"pretrained": ((True, True),), "draw_into": 3}, "ablation.draw_into"),
        ({"sizes": (1,)}, "ablation.sizes is no setting"),
    ],
)
def test_settings_that_cannot_work_are_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        plan_trials(small_config(**section))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        ({"train": 0}, "ablation.draw.train=0 must be at least 1"),
        ({"image_size": (16, 20)}, "ablation.draw: image_size is .* 32 to 4096"),
    ],
)
def test_images_that_cannot_be_drawn_are_refused(draw, message):
    with pytest.raises(ConfigError, match=message):
        plan_trials(small_config(draw={**dataclasses.asdict(DrawSettings()), **draw}))


def test_a_trial_that_cannot_be_trained_is_refused_before_any_runs():
    config = small_config()
    config.finetune.steps = 0
    with pytest.raises(ConfigError, match=r"trial scratch-32.*: finetune.steps=0 must be at least"):
        plan_trials(config)
