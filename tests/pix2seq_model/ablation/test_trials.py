"""Ablations: which trials there are, that each is done once, and what is told of them."""

import csv
import dataclasses
import io
import json
import re
import shutil

import pytest

from pix2seq_model.ablation import page as ablation_report
from pix2seq_model.ablation import summary as ablation_summary
from pix2seq_model.ablation import trials as ablation
from pix2seq_model.ablation.summary import Row
from pix2seq_model.ablation.trials import Trial, TrialResult, plan_trials, read_result, run_trials
from pix2seq_model.errors import CheckpointError, ConfigError, DataError, TrainingInterruptedError
from pix2seq_model.experiment.loading import load_config
from tests.browser import ask_page, needs_browser
from tests.pix2seq_model import tiny_run


def small_config(**section):
    """Two trials: the usual one, which answers all three questions, and one without noise."""
    config = tiny_run.config(jit_compile="off")
    with config.unlocked():
        config.ablation = {
            "seeds": (0,),
            "bins": (32,),
            "orders": ("random",),
            "end_token_offsets": (0.0,),
            "pretrained": (),
            **section,
        }
    return config


def test_the_committed_config_has_the_papers_trials():
    trials = plan_trials(load_config("configs/ablation.py"))
    assert len(trials) == len(set(trials)) == 2 + 3 * (1 + 3 + 5 + 1 + 2)
    for trial in trials:
        base = ablation.base_of(trial, trials)
        assert base is None or trials.index(base) < trials.index(trial)
    usual = Trial(num_bins=64, order="random", augmented=True, seed=1)
    assert trials.count(usual) == 1
    assert len({trial.name for trial in trials}) == len(trials)
    after = next(trial for trial in trials if trial.pretrained is False)
    assert ablation.base_of(after, trials).augmented is False


def test_without_offsets_the_third_question_is_not_asked():
    trials = plan_trials(small_config(end_token_offsets=(), pretrained=((True, True),)))
    assert trials == [Trial(num_bins=32, order="random", augmented=True, seed=0)]


def test_a_trial_changes_what_it_is_about_and_nothing_else():
    config = small_config()
    changed = ablation.trial_config(
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


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"seeds": ()}, "ablation.seeds"),
        ({"seeds": (1, 1)}, "ablation.seeds"),
        ({"bins": (41,)}, "ablation.bins: 41 must lie between 2 and .* = 40"),
        ({"orders": ("size",)}, "ablation.orders: 'size' is none of random"),
    ],
)
def test_settings_that_cannot_work_are_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        plan_trials(small_config(**section))


def test_a_config_without_the_section_is_refused():
    with pytest.raises(ConfigError, match=r"no section `ablation`: start from configs/ablation.py"):
        plan_trials(tiny_run.config())


@pytest.mark.slow
def test_trials_are_trained_and_evaluated_once_and_go_on_where_they_were_killed(
    tmp_path, monkeypatch
):
    examples = {"finetune": tiny_run.write_examples(tmp_path / "data", splits=("train", "val"))}
    config = small_config()
    output = tmp_path / "out"
    results = run_trials(config, examples=examples, output_dir=output)
    assert [result.trial.augmented for result in results] == [True, False]
    assert {tuple(result.metrics) for result in results} == {(0.0,)}
    assert set(results[0].metrics[0.0]) >= {"AP", "AR100"}
    assert not list(output.glob("trials/*/work"))

    # Finished trials are not done again.
    monkeypatch.setattr("pix2seq_model.ablation.runner.TrialRunner", None)
    assert run_trials(config, examples=examples, output_dir=output) == results
    # Nor where others ask for more data.
    both = {**examples, "pretrain": examples["finetune"]}
    assert run_trials(config, examples=both, output_dir=output) == results
    monkeypatch.undo()

    # More offsets take no training.
    monkeypatch.setattr("pix2seq_model.ablation.runner.train", None)
    more = small_config(end_token_offsets=(0.0, -3.0))
    evaluated = run_trials(more, examples=examples, output_dir=output)
    assert set(evaluated[0].metrics) == {0.0, -3.0}
    assert evaluated[0].metrics[0.0] == results[0].metrics[0.0]
    monkeypatch.undo()

    # A trial that is stopped goes on from its checkpoint, alone, and comes to the same weights.
    second = output / "trials" / results[1].trial.name
    shutil.rmtree(second)
    _stop_at_step(monkeypatch, 7)
    with pytest.raises(TrainingInterruptedError, match="at step 7 of 10"):
        run_trials(config, examples=examples, output_dir=output)
    monkeypatch.undo()
    assert read_result(second) is None
    again = run_trials(config, examples=examples, output_dir=output)
    assert again[1].weights_sha256 == results[1].weights_sha256
    assert again[1].metrics[0.0] == results[1].metrics[0.0]
    run = json.loads((second / "model/run.json").read_text())
    assert run["restarts"] == 1

    # Other settings are refused rather than mixed in.
    with pytest.raises(CheckpointError, match=r"other settings \(stage changed\).*--output"):
        run_trials(small_config_with_rate(2e-3), examples=examples, output_dir=output)
    (second / "result.json").write_text("{")
    with pytest.raises(DataError, match=r"result.json is damaged.*delete it"):
        run_trials(config, examples=examples, output_dir=output)


def small_config_with_rate(rate):
    config = small_config()
    config.finetune.learning_rate = rate
    return config


def _stop_at_step(monkeypatch, step):
    from pix2seq_model.training.interruption import StopAgreement

    real = StopAgreement.is_agreed

    def stop(self, batch):
        if batch == step:
            self._request.received = "SIGTERM"
        return real(self, batch)

    monkeypatch.setattr(StopAgreement, "is_agreed", stop)


def test_a_failing_trial_is_named(tmp_path):
    examples = {"finetune": tiny_run.write_examples(tmp_path / "data")}
    config = small_config()
    config.finetune.split = "nowhere"
    with pytest.raises(DataError, match=r"trial scratch-32_bins-random-noise-seed0: .*nowhere"):
        run_trials(config, examples=examples, output_dir=tmp_path / "out")


def _result(trial, ap, offsets=(0.0,)):
    metrics = {o: {"AP": ap - o / 100, "AP50": 2 * ap, "AR100": 3 * ap} for o in offsets}
    return TrialResult(
        trial=trial, metrics=metrics, seconds=60.0, weights_sha256="", identity={"data": "d"}
    )


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    """Bins 8 and 32 with two seeds; nobody trained anything."""
    folder = tmp_path_factory.mktemp("ablation")
    examples = {"finetune": tiny_run.write_examples(folder / "data", splits=("train", "val"))}
    config = small_config(seeds=(0, 1), bins=(8, 32), end_token_offsets=(0.0, -3.0))
    aps = {(8, 0): 0.1, (8, 1): 0.14, (32, 0): 0.3, (32, 1): 0.2}
    results = [
        _result(trial, aps[trial.num_bins, trial.seed], (0.0, -3.0))
        for trial in plan_trials(config)
    ]
    for result in results:
        model = folder / "trials" / result.trial.name / "model"
        model.mkdir(parents=True)
        hardware = {"devices": ["cpu:0"], "cpu_count": 2, "backend": "tensorflow"}
        run = {"hardware": hardware, "packages": {}, "finished_at": "2026-01-01T00:00:00+00:00"}
        (model / "run.json").write_text(json.dumps(run))
    return ablation_summary.summarize(config, results, examples=examples, output_dir=folder)


def test_results_are_read_as_they_were_written(tmp_path):
    trial = Trial(num_bins=8, order="area", augmented=True, pretrained=False, seed=1)
    result = _result(trial, 0.25, (0.0, -3.0))
    ablation.write_result(tmp_path, result)
    assert read_result(tmp_path) == result


def test_mean_spread_and_comparison_by_seed():
    usual = Row(question="bins", setting="32", is_usual=True, values={"AP": (0.3, 0.2, 0.1)})
    other = Row(question="bins", setting="8", is_usual=False, values={"AP": (0.1, 0.1, 0.2)})
    assert usual.text("AP") == "0.200 ± 0.100"
    assert other.against(usual, "AP") == "-0.067, lower for 2 of 3"
    assert usual.against(other, "AP") == "+0.067, higher for 2 of 3"
    assert usual.against(dataclasses.replace(usual, setting="alike"), "AP") == "the same"
    assert usual.against(usual, "AP") == ""
    one = Row(question="bins", setting="8", is_usual=False, values={"AP": (0.5,)})
    assert one.text("AP") == "0.500"


def test_the_tables_have_every_setting(summary, tmp_path):
    text = summary.text()
    assert re.search(r"^8 +0\.120 ± 0\.028 +0\.240 ± 0\.057 ", text, re.MULTILINE)
    assert "-0.130, lower for 2 of 2" in text
    assert "from scratch, no noise objects" in text
    ablation_summary.write_tables(tmp_path, summary)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "ablation.csv").read_text())))
    assert [row["setting"] for row in rows] == ["8", "32", "random", "0", "-3", "0", "-3"]
    assert rows[0]["AP_mean"] == "0.120000"
    content = json.loads((tmp_path / "ablation.json").read_text())
    assert content["rows"][0]["values"]["AP"] == [0.1, 0.14]
    assert len(content["trials"]) == 6


@needs_browser
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_the_screen(summary, width, tmp_path):
    page = ablation_report.write_page(tmp_path, summary)
    answer = ask_page(
        page,
        """({
          needed: document.documentElement.scrollWidth,
          charts: [...document.querySelectorAll("svg")].map((svg) => svg.clientWidth),
          rows: document.querySelectorAll("tbody tr").length,
          outside: [...document.querySelectorAll("[src], link[href], a[href]")].map(
            (element) => element.getAttribute("src") || element.getAttribute("href"))
            .filter((address) => !/^(data:|#)/.test(address)),
        })""",
        width=width,
        folder=tmp_path,
    )
    assert answer["needed"] <= width
    assert len(answer["charts"]) == 4
    assert min(answer["charts"]) > 250
    assert answer["rows"] == 7
    assert answer["outside"] == []
