"""When an early stop comes, and that it is the same after a kill."""

import itertools
import json
import math

import pytest

from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.errors import ConfigError, FolderInUseError
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.training import train as training
from pix2seq_model.training import validation_loss
from pix2seq_model.training.early_stopping import (
    EarlyStopping,
    follow_first,
    judge_again,
    measured_as,
    note_measured,
    stopped_at,
)
from pix2seq_model.training.evaluation import TrainingEvaluation
from pix2seq_model.training.interruption import StopAgreement
from pix2seq_model.training.run_record import FINISHED_FILE, note_unfinished, run_identity
from pix2seq_model.training.settings import StageSettings
from pix2seq_model.training.train import is_trained
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


def _is_trained(work_dir, **settings):
    run = training_run(tiny_run.config(**settings), "finetune")
    return is_trained(run.settings, work_dir, evaluation=run.evaluation)


def _differences(rows, others):
    """Where two histories differ, as (row, name of the value, one, other)."""
    return [
        (index, name, row.get(name), other.get(name))
        for index, (row, other) in enumerate(itertools.zip_longest(rows, others, fillvalue={}))
        for name in sorted({*row, *other})
        if row.get(name) != other.get(name)
    ]


def test_a_killed_run_stops_where_a_whole_one_does(
    plain_run, tmp_path, monkeypatch, no_export, capsys
):
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

    opened, batches = [], training._batches
    with monkeypatch.context() as patch:
        patch.setattr(StopAgreement, "is_agreed", dies)
        patch.setattr(training, "_batches", lambda *_: opened.append(batches(*_)) or opened[-1])
        with pytest.raises(KeyboardInterrupt):
            tiny_run.train(tmp_path / "killed", examples, **settings)
    assert [generator.gi_frame for generator in opened] == [None]  # Nobody reads any more.
    for _ in range(2):  # And what is over stays over.
        killed = tiny_run.train(tmp_path / "killed", examples, **settings)
        assert _differences(tiny_run.history(tmp_path / "killed"), rows) == []
        assert killed.weights_sha256 == whole.weights_sha256
    assert _is_trained(tmp_path / "killed/work", **settings)
    # By those images: others may say something else.
    assert not _is_trained(tmp_path / "killed/work", **{**settings, "evaluate_images": 3})

    # Without early stopping, and with no loss to stop by, it goes on to its end.
    other = {"early_stopping_patience": 0, "validation_loss": False, "evaluate_images": 3}
    settings |= other
    assert not _is_trained(tmp_path / "killed/work", **settings)
    capsys.readouterr()
    longer = tiny_run.train(tmp_path / "killed", examples, **settings)
    assert "continues at step 6 of 10" in capsys.readouterr().err
    assert longer.weights_sha256 == plain_run[1].weights_sha256
    assert [row["step"] for row in tiny_run.history(tmp_path / "killed")] == [2, 4, 6, 8, 10]
    assert not longer.source.endswith("finetune, 6 steps")


def test_the_note_of_the_end_stays_with_whoever_has_the_folder(tmp_path):
    def lost():
        raise FolderInUseError("another process writes this folder")

    (tmp_path / FINISHED_FILE).write_text("{}")
    with pytest.raises(FolderInUseError):
        note_unfinished(tmp_path, check=lost)
    assert (tmp_path / FINISHED_FILE).exists()
    note_unfinished(tmp_path, check=lambda: None)
    assert not (tmp_path / FINISHED_FILE).exists()


def test_how_it_is_measured_is_part_of_the_run_where_the_best_is_kept(examples):
    data = read_dataset_info(examples)

    def identity(**settings):
        run = training_run(tiny_run.config(**settings), "finetune")
        return run_identity(run, data=data, base_model=None)

    plain = identity()
    assert "evaluation.split" not in plain
    # It decides when a run ends, and not what its weights are until then.
    stopping = {
        "early_stopping_patience": 2,
        "early_stopping_metric": "validation_loss",
        "early_stopping_min_delta": 0.1,
        "evaluate_images": 3,
    }
    assert identity(evaluate_every_steps=4, **stopping) == plain
    assert identity(evaluate_every_steps=4, validation_loss=False) == plain

    best = {"evaluate_every_steps": 4, "keep_best": True}
    found = identity(**best)
    assert found["evaluation.split"] == "val"
    assert not {"evaluation.num_pictures", "evaluation.ground_truth"} & set(found)
    assert identity(**best, **stopping) != found  # By its other images.
    del stopping["evaluate_images"]
    assert identity(**best, **stopping) == identity(**best, validation_loss=False) == found


def _record(*values, metric="AP"):
    rows = [{"step": 2 * n, metric: value} for n, value in enumerate(values, start=1)]
    return {"history": [{"step": 1, "loss": 5.0}, *rows]}


def _judged(record, *, step, measured="now", **settings):
    """When a continued run has stopped, and what it says."""
    stage = StageSettings(steps=10, steps_per_log=1, evaluate_every_steps=2, **settings)
    said = []
    judge_again(stage, record, step=step, measured=measured, say=said.append)
    return stopped_at(record), said


def test_a_continued_run_is_judged_by_its_settings_of_now():
    record = _record(0.3, 0.2, 0.1)
    assert _judged(record, step=6, early_stopping_patience=2) == (6, [])
    assert _judged(record, step=6, early_stopping_patience=3) == (None, [])
    assert record["early_stopping"]["waited"] == 2  # And the next one counts on.
    assert _judged(record, step=6, early_stopping_patience=2) == (6, [])
    assert _judged(record, step=6) == (None, [])
    # It has no values of another metric yet.
    other = {"early_stopping_patience": 1, "early_stopping_metric": "validation_loss"}
    assert _judged(record, step=6, **other) == (None, [])


def test_a_run_that_went_further_stops_where_it_is():
    stopped, (said,) = _judged(_record(0.3, 0.2, 0.1, 0.1), step=9, early_stopping_patience=2)
    assert stopped == 9
    assert "would have stopped this training at step 6: it stops where it is, at step 9" in said
    # One that came to its end did not stop.
    assert _judged(_record(0.3, 0.2, 0.1, 0.1), step=10, early_stopping_patience=2) == (None, [])


def test_evaluations_that_measured_otherwise_do_not_count():
    record = _record(0.3, 0.2, 0.1) | {"best": {"step": 2, "AP": 0.3}}
    for step in (2, 4, 6):
        note_measured(record, step, measured="before")
    stopping = {"early_stopping_patience": 2}
    assert _judged(record, step=6, measured="before", **stopping) == (6, [])
    stopped, (said,) = _judged(record, step=6, **stopping)
    assert stopped is None
    assert "the evaluations up to step 6 measured in another way" in said
    assert "begins to count again" in said
    assert record["best"] is None
    assert _judged(record, step=6) == (None, [])  # Nobody watches.

    # Those that follow are compared with each other alone, and nothing is said again.
    record["history"] += [{"step": 8, "AP": 0.05}, {"step": 9, "AP": 0.04}]
    for step in (8, 9):
        note_measured(record, step, measured="now")
    assert _judged(record, step=9, **stopping) == (None, [])
    assert record["early_stopping"] == {"step": 8, "value": 0.05, "waited": 1, "stopped_at": None}
    assert record["best"] == {"step": 8, "AP": 0.05}
    stopped, (said,) = _judged(record, step=9, measured="before", early_stopping_patience=3)
    assert (stopped, record["early_stopping"]["waited"]) == (None, 2)
    assert "begins with those that measured as now" in said


def test_a_run_without_notes_measured_as_now():
    record = json.loads(json.dumps(_record(0.3, 0.2)))
    assert _judged(record, step=4, early_stopping_patience=2) == (None, [])
    # Also when it is judged once more, with notes of its own.
    record["history"].append({"step": 6, "AP": 0.1})
    note_measured(record, 6, measured="now")
    assert _judged(record, step=6, early_stopping_patience=2) == (6, [])


def test_what_is_measured_is_told_by_its_settings():
    def measured(*, stage=(), **evaluation):
        config = tiny_run.config(**dict(stage))
        config.evaluation.update(evaluation)
        run = training_run(config, "finetune")
        return measured_as(run.settings, run.evaluation)

    plain = measured()
    assert measured(num_pictures=3) == measured(stage={"early_stopping_min_delta": 0.1}) == plain
    others = {
        measured(stage={"evaluate_images": 3}),
        *(measured(batch_size=2), measured(split="train"), measured(precision="bfloat16")),
    }
    assert len({plain, *others}) == 5


def test_all_processes_do_as_the_first():
    record = {}
    follow_first(record, 6, stops=False)
    assert record == {}
    follow_first(record, 6, stops=True)
    assert stopped_at(record) == 6
    follow_first(record, 6, stops=False)
    assert stopped_at(record) is None
