"""Whether training has stopped getting better, judged by the evaluations while it goes on."""

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

from pix2seq_model.evaluation.settings import MEASURING_SETTINGS, EvaluationSettings
from pix2seq_model.training.settings import StageSettings

RECORD_KEY = "early_stopping"
# In the record of a run: how each evaluation of its history measured, {"400": "0123abcd", ...}.
_MEASURED_KEY = "measured_as"
# In rows of the history that an evaluation has added to.
_EVALUATED = ("AP", "validation_loss")


def measured_as(settings: StageSettings, evaluation: EvaluationSettings) -> str:
    """A digest of how evaluations while training measure; numbers of two cannot be compared.

    Args:
      settings: of the stage: how many images.
      evaluation: which ones, and how they are decoded.
    """
    values = {name: getattr(evaluation, name) for name in MEASURING_SETTINGS}
    text = json.dumps([settings.evaluate_images, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def note_measured(record: dict[str, Any], step: int, *, measured: str) -> None:
    """Notes how the evaluation after a step measured.

    Args:
      record: of the run.
      step: of the evaluation.
      measured: its `measured_as`.
    """
    record.setdefault(_MEASURED_KEY, {})[str(step)] = measured


class EarlyStopping:
    """Counts the evaluations since the best one, as Keras' callback of that name does by epochs.

    All it knows is in the record of the run, which goes into the checkpoints: a run that was
    continued stops where one that was not does.
    """

    def __init__(self, settings: StageSettings, record: dict[str, Any]) -> None:
        """
        Args:
          settings: of the stage: the metric, the patience, the least difference.
          record: of the run; `record["early_stopping"]` is {"step", "value"} of the best so far,
            {"waited"}, the evaluations since, and {"stopped_at"}, the step, or None.
        """
        self._settings, self._record = settings, record

    def update(self, step: int, metrics: dict[str, float]) -> str:
        """Takes in an evaluation.

        An AP that cannot be measured (-1) says nothing, nor does one of 0 before there was any
        above: a sequence model finds nothing at all for long before it begins to.

        Args:
          step: after which it was made.
          metrics: what it gave, with the metric that is watched.

        Returns:
          Why training stops, for people; empty if it goes on.
        """
        settings = self._settings
        if not settings.early_stopping_patience:
            return ""
        name = settings.early_stopping_metric
        state = self._record.setdefault(
            RECORD_KEY, {"step": None, "value": None, "waited": 0, "stopped_at": None}
        )
        value, best = metrics[name], state["value"]
        if name == "AP" and (value < 0 or (value == 0 and best is None)):
            return ""
        if self._is_better(value, best):
            state |= {"step": step, "value": value, "waited": 0}
            return ""
        state["waited"] += 1
        if state["waited"] < settings.early_stopping_patience:
            return ""
        state["stopped_at"] = step
        since = f"best at step {state['step']} ({best:.4f})" if best is not None else "never finite"
        return (
            f"{name} has not got better in {state['waited']} evaluations, {since}: training stops "
            f"at step {step} of {settings.steps} (early_stopping_patience="
            f"{settings.early_stopping_patience})."
        )

    def _is_better(self, value: float, best: float | None) -> bool:
        if not math.isfinite(value):
            return False
        if best is None:
            return True
        gain = value - best if self._settings.early_stopping_metric == "AP" else best - value
        return gain > self._settings.early_stopping_min_delta


def judge_again(
    settings: StageSettings,
    record: dict[str, Any],
    *,
    step: int,
    measured: str,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Takes in all evaluations of a run that continues, perhaps with other settings than it began.

    So a training that had stopped early goes on where these would not have stopped it. Evaluations
    that measured in another way than those to come do not count, nor as the best so far.

    Args:
      settings: of the stage, now.
      record: of the run, with its "history".
      step: that was trained last.
      measured: how evaluations measure now, see `measured_as`.
      say: is told where it has gone further than these settings would have let it, and where
        evaluations do not count any more.
    """
    record.pop(RECORD_KEY, None)
    judge, metric = EarlyStopping(settings, record), settings.early_stopping_metric
    for row in _comparable(settings, record, measured=measured, say=say):
        if metric in row and judge.update(row["step"], row):
            break
    stopped = stopped_at(record)
    if stopped is None or stopped >= step:
        return
    record[RECORD_KEY]["stopped_at"] = step if step < settings.steps else None
    if step < settings.steps:
        say(
            f"early_stopping_patience={settings.early_stopping_patience} would have stopped this "
            f"training at step {stopped}: it stops where it is, at step {step}."
        )


def _comparable(
    settings: StageSettings,
    record: dict[str, Any],
    *,
    measured: str,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The rows of the history whose evaluation measured as it is measured now."""
    evaluated = [row for row in record["history"] if any(name in row for name in _EVALUATED)]
    if not record.get(_MEASURED_KEY):  # As in a run of before this was noted.
        for row in evaluated:
            note_measured(record, row["step"], measured=measured)
    noted = record.get(_MEASURED_KEY, {})
    rows = [row for row in evaluated if noted.get(str(row["step"])) == measured]
    if len(rows) < len(evaluated) and not settings.keep_best:  # Its weights are those of the run.
        having_ap = [row for row in rows if row.get("AP", -1) >= 0]
        best = max(having_ap, key=lambda row: (row["AP"], row["step"]), default=None)
        record["best"] = best and {"step": best["step"], "AP": best["AP"]}
    if settings.early_stopping_patience and evaluated and evaluated[-1] not in rows:
        say(
            f"the evaluations up to step {evaluated[-1]['step']} measured in another way "
            "(evaluate_images or settings of the evaluation were others): early stopping begins "
            + ("with those that measured as now." if rows else "to count again.")
        )
    return rows


def follow_first(record: dict[str, Any], step: int, *, stops: bool) -> None:
    """Stops, or goes on, as the first process does.

    Args:
      record: of the run.
      step: of the evaluation.
      stops: what the first process does.
    """
    if stops != (stopped_at(record) is not None):
        state = record.setdefault(RECORD_KEY, {"step": None, "value": None, "waited": 0})
        state["stopped_at"] = step if stops else None


def stopped_at(record: dict[str, Any]) -> int | None:
    """The step at which a run was stopped early; None if it was not."""
    return record.get(RECORD_KEY, {}).get("stopped_at")
