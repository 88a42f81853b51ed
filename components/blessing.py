"""Is a model good enough to be pushed? Thresholds on any metric, with the reason written down.

A model is blessed if it reaches every least value and, for every metric in `max_regression`, is not
worse than the model blessed before by more than the allowed difference.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeGuard

# In the folder of a blessing: the decision with its reasons.
DECISION_FILE = "decision.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """The decision, and one sentence per threshold with the reason."""

    blessed: bool
    reasons: tuple[str, ...]

    def to_json(self) -> dict:
        return {"blessed": self.blessed, "reasons": list(self.reasons)}


def decide(
    metrics: Mapping[str, float],
    *,
    min_metrics: Mapping[str, float],
    max_regression: Mapping[str, float],
    blessed_metrics: Mapping[str, float] | None,
    not_compared: str = "no model was blessed before: there is nothing to compare with",
) -> Decision:
    """Compares a model's metrics with the thresholds and with the model blessed before.

    Args:
      metrics: metric name to value, of the candidate. COCO writes -1 for a metric that the data
        cannot measure (AP_small without a small object): such a value passes no threshold.
      min_metrics: least value by metric.
      max_regression: by metric, how far below the blessed model's value the candidate may fall.
      blessed_metrics: of the model blessed before, on the same images; None if there is none.
      not_compared: why there is none.
    """
    checks = [_check_least(metrics, name, least) for name, least in sorted(min_metrics.items())]
    if blessed_metrics is None:
        checks.append((True, not_compared))
    else:
        checks += [
            _check_regression(metrics, blessed_metrics, name, fall)
            for name, fall in sorted(max_regression.items())
        ]
    failures = tuple(reason for passed, reason in checks if not passed)
    return Decision(blessed=not failures, reasons=failures or tuple(reason for _, reason in checks))


def _check_least(metrics: Mapping[str, float], name: str, least: float) -> tuple[bool, str]:
    value = metrics.get(name)
    if not _measured(value):
        return False, f"{name} cannot be measured on this data, and at least {least:.4f} is asked"
    if value < least:
        return False, f"{name} {value:.4f} is below the least value {least:.4f}"
    return True, f"{name} {value:.4f} reaches the least value {least:.4f}"


def _check_regression(
    metrics: Mapping[str, float], blessed: Mapping[str, float], name: str, fall: float
) -> tuple[bool, str]:
    value, before = metrics.get(name), blessed.get(name)
    if not _measured(before):
        return True, f"{name} of the blessed model cannot be measured on this data: not compared"
    if not _measured(value):
        return False, f"{name} cannot be measured on this data; the blessed model has {before:.4f}"
    if value < before - fall:
        return False, (
            f"{name} {value:.4f} is more than {fall:.4f} below {before:.4f} of the blessed model"
        )
    return True, f"{name} {value:.4f} is not worse than {before:.4f} of the blessed model"


def measured(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are numbers and that the data could measure."""
    numbers = {name: v for name, v in metrics.items() if type(v) in (int, float)}
    return {name: float(v) for name, v in numbers.items() if _measured(v)}


def _measured(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value >= 0
