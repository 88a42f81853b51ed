"""When an early stop comes, and that it is the same after a kill."""

import json
import math

import pytest

from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.training import validation_loss
from pix2seq_model.training.early_stopping import EarlyStopping, follow_first, stopped_at
from pix2seq_model.training.evaluation import TrainingEvaluation
from pix2seq_model.training.interruption import StopAgreement
from pix2seq_model.training.run_record import run_identity
from pix2seq_model.training.settings import StageSettings
from tests.fixtures import tiny_run

_EVALUATED = {"steps": 10, "steps_per_log": 2, "evaluate_every_steps": 2, "evaluate_images": 5}


def _stop_after(values, **settings):
    """The number of the evaluation that stops, and what it says; 0 if none does."""
    stage = StageSettings(
        steps=100, steps_per_log=1, evaluate_every_steps=1, early_stopping_patience=2, **settings
    )
    record = {}
    for number, value in enumerate(values, start=1):
        # As if each were in a process of its own, that has the checkpoint alone.
        record = json.loads(json.dumps(record))
        said = EarlyStopping(stage, record).update(number, {stage.early_stopping_metric: value})
        assert bool(said) == (stopped_at(record) is not None)
        if said:
            assert stopped_at(record) == number
            return number, said
    return 0, ""


def test_it_stops_after_as_many_without_a_better_one():
    number, said = _stop_after([0.1, 0.3, 0.2, 0.3, 0.9])
    assert number == 4  # An equal one is not better.
    assert "AP has not got better in 2 evaluations, best at step 2 (0.3000)" in said
    assert _stop_after([0.1, 0.3, 0.2, 0.4, 0.3])[0] == 0


def test_a_loss_is_better_when_it_falls():
    assert _stop_after([3.0, 2.0, 2.1, 1.9, 2.0], early_stopping_metric="validation_loss")[0] == 0
    assert _stop_after([3.0, 2.0, 2.1, 2.2], early_stopping_metric="validation_loss")[0] == 4
    nan = [3.0, math.nan, math.nan]
    assert _stop_after(nan, early_stopping_metric="validation_loss")[0] == 3


def test_what_counts_as_better_can_be_raised():
    assert _stop_after([0.1, 0.11, 0.12], early_stopping_min_delta=0.05)[0] == 3


def test_an_ap_that_says_nothing_does_not_count():
    # Not before there was one above 0, nor where there is nothing to find.
    assert _stop_after([0.0, 0.0, 0.0, 0.0])[0] == 0
    assert _stop_after([-1.0, -1.0, -1.0])[0] == 0
    assert _stop_after([0.0, 0.2, 0.0, 0.0])[0] == 4


def test_it_is_off_by_default():
    stage = StageSettings(steps_per_log=1, evaluate_every_steps=1)
    record = {}
    assert EarlyStopping(stage, record).update(1, {"AP": 0.0}) == ""
    assert record == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"early_stopping_patience": 2}, "needs evaluations"),
        (
            {
                "early_stopping_patience": 2,
                "evaluate_every_steps": 100,
                "early_stopping_metric": "validation_loss",
                "validation_loss": False,
            },
            "needs that loss",
        ),
    ],
)
def test_what_cannot_be_watched_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        StageSettings(**settings)


def test_a_killed_run_stops_where_a_whole_one_does(tmp_path, monkeypatch, no_export, capsys):
    examples = tiny_run.write_examples(tmp_path / "examples", splits=("train", "val"))
    # What is decoded does not matter here, and takes long.
    monkeypatch.setattr(
        TrainingEvaluation, "_evaluate", lambda _: ({"AP": 0.0, "AP50": 0.0}, tiny_run.PICTURE)
    )
    # To compile it takes longer than to compute it; test_train.py does.
    monkeypatch.setattr(validation_loss, "compiled", lambda function, _: function)
    settings = {
        **_EVALUATED,
        "early_stopping_patience": 2,
        "early_stopping_metric": "validation_loss",
        "early_stopping_min_delta": 100.0,  # Nothing is as much better as that.
    }
    whole = tiny_run.train(tmp_path / "whole", examples, **settings)
    assert "training stops at step 6 of 10" in capsys.readouterr().err
    assert whole.source.endswith("finetune, 6 steps")
    rows = tiny_run.history(tmp_path / "whole")
    assert [row["step"] for row in rows] == [2, 4, 6]
    # A network that knows nothing: every token is as likely as any other, of 160.
    assert rows[0]["validation_loss"] == pytest.approx(math.log(160), abs=0.15)
    assert rows[2]["validation_loss"] < rows[0]["validation_loss"]
    record = json.loads((tmp_path / "whole/model/run.json").read_text())
    assert record["stopped_at_step"] == 6

    original = StopAgreement.is_agreed

    def dies(self, number):
        if number == 5:
            raise KeyboardInterrupt
        return original(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(StopAgreement, "is_agreed", dies)
        with pytest.raises(KeyboardInterrupt):
            tiny_run.train(tmp_path / "killed", examples, **settings)
    for _ in range(2):  # And what is over stays over.
        killed = tiny_run.train(tmp_path / "killed", examples, **settings)
        assert killed.weights_sha256 == whole.weights_sha256
        assert tiny_run.history(tmp_path / "killed") == rows


def test_how_it_is_measured_is_part_of_the_run_where_it_decides(examples):
    data = read_dataset_info(examples)

    def identity(**settings):
        run = training_run(tiny_run.config(**settings), "finetune")
        return run_identity(run, data=data, base_model=None)

    assert "evaluation.split" not in identity(evaluate_every_steps=4)
    for decides in ({"keep_best": True}, {"early_stopping_patience": 2}):
        found = identity(evaluate_every_steps=4, **decides)
        assert found["evaluation.split"] == "val"
        assert not {"evaluation.num_pictures", "evaluation.ground_truth"} & set(found)


def test_all_processes_do_as_the_first():
    record = {}
    follow_first(record, 6, stops=False)
    assert record == {}
    follow_first(record, 6, stops=True)
    assert stopped_at(record) == 6
    follow_first(record, 6, stops=False)
    assert stopped_at(record) is None
