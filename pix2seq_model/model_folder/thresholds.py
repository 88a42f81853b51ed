"""Which score a model's detections are kept from, as its evaluation has found it.

A pushed version holds it in a file of its own, `score_thresholds.json`, outside of what its digest
is made of: an evaluation on more images changes it and not the model.
"""

import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from etils import epath

from pix2seq_model.atomic_write import write_json
from pix2seq_model.errors import ModelError
from pix2seq_model.json_file import read_json
from pix2seq_model.model_folder.pushed import find_pushed_version

THRESHOLDS_FILE = "score_thresholds.json"
# Of a model that was not evaluated, or found nothing.
DEFAULT_SCORE = 0.3


def write_thresholds(version_dir: str | os.PathLike, thresholds: Mapping[str, Any]) -> None:
    """Writes what `metrics.score_thresholds` gives into a pushed version."""
    write_json(epath.Path(version_dir) / THRESHOLDS_FILE, dict(thresholds), indent=1)


def default_score(model_dir: str | os.PathLike) -> float:
    """The least score of detections to keep where nobody names one.

    A damaged file of thresholds holds up nobody: it is said, and the default is taken.

    Args:
      model_dir: a pushed version, or any model folder, which has no thresholds.
    """
    path = epath.Path(model_dir) / THRESHOLDS_FILE
    if not path.exists():
        return DEFAULT_SCORE
    fix = "push the model again, or name a score threshold"
    try:
        overall = read_json(path, fix=fix, error=ModelError, kind=dict)["overall"]
        if overall is None:
            return DEFAULT_SCORE
        score = float(overall["threshold"])
        if not 0 <= score <= 1 or math.isnan(score):
            raise ValueError(f"threshold {score}")
        return score
    except ModelError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{path} cannot be read ({error}); {fix}"
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        problem = f"{path} is damaged ({error!r}); {fix}"
    print(f"warning: {problem}; {DEFAULT_SCORE} is taken", file=sys.stderr, flush=True)
    return DEFAULT_SCORE


def default_score_of(place: str | os.PathLike) -> float:
    """As `default_score`, of any place of a model: of a folder of versions the newest."""
    version = find_pushed_version(place)
    return DEFAULT_SCORE if version is None else default_score(version)
