"""What TFX's compiler has no words for, put into the job file that it wrote."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx.utils import name_utils

from components.cloud_log import logged
from components.coco_evaluator import BASELINE_OF
from components.data_version import Executor as DataVersionExecutor
from pipelines.keras_backend import keras_backend
from pipelines.pipeline import NODES, baseline_of
from pipelines.request import Request

# A trainer that is gone holds its work folder for some minutes: see `FolderLock`.
_BACKOFF = {"backoffDuration": "180s", "backoffFactor": 2.0, "backoffMaxDuration": "3600s"}
_DATA_VERSION = name_utils.get_full_name(DataVersionExecutor)
# Stages whose steps import Keras.
_ON_KERAS = ("pretrain", "finetune", "evaluate")
_BLESSINGS = 'schema_title="tfx.ModelBlessing"'


def complete_job(path: Path, request: Request) -> None:
    """Completes a job file: whose blessed model is the baseline, which data count, how often a step
    is tried, Keras' backend, and that what a step says is no error.

    Raises:
      OSError: the file cannot be read or written.
      ValueError: it does not look as this version of TFX writes it.
    """
    job = json.loads(path.read_text())
    spec = job["pipelineSpec"]
    if "evaluate" in request.needed:
        _own_baseline(spec, baseline_of(request))
    _data_versions(spec)
    _retry(spec, request.target.machines.retries)
    for executor in spec["deploymentSpec"]["executors"].values():
        if "container" in executor:
            executor["container"]["command"] = logged(executor["container"]["command"])
    _same_backend(spec, keras_backend())
    path.write_text(json.dumps(job, sort_keys=True))


def _own_baseline(spec: Mapping[str, Any], wanted: str) -> None:
    """Has the latest blessed model looked up among this pipeline's, not in the whole project."""
    queries = [
        query
        for executor in spec["deploymentSpec"]["executors"].values()
        for query in executor.get("resolver", {}).get("outputArtifactQueries", {}).values()
        if _BLESSINGS in query["filter"]
    ]
    if len(queries) != 1:
        raise ValueError(f"{len(queries)} queries for a blessing in the compiled job, expected 1")
    queries[0]["filter"] += f' AND metadata.{BASELINE_OF}.string_value="{wanted}"'


def _data_versions(spec: Mapping[str, Any]) -> None:
    """Has the data looked at in every run, and names the steps that do so by their tasks' names."""
    tasks, executors = spec["root"]["dag"]["tasks"], spec["deploymentSpec"]["executors"]
    for task in tasks.values():
        for parameter in task.get("inputs", {}).get("parameters", {}).values():
            if output := parameter.get("taskOutputParameter"):
                # TFX writes the name with this behind it, but the task without.
                producer = output["producerTask"].removesuffix("_task")
                if producer not in tasks:
                    raise ValueError(f"a parameter of {output['producerTask']}, which is no task")
                output["producerTask"] = producer
        label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
        if _DATA_VERSION in executors[label].get("container", {}).get("args", ()):
            task["cachingOptions"] = {}


def _retry(spec: Mapping[str, Any], retries: int) -> None:
    """Has failed steps tried again: every one can be repeated, and continues where it was."""
    executors = spec["deploymentSpec"]["executors"]
    for task in spec["root"]["dag"]["tasks"].values():
        label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
        if retries and "container" in executors[label]:
            task["retryPolicy"] = {"maxRetryCount": retries, **_BACKOFF}


def _same_backend(spec: Mapping[str, Any], backend: str) -> None:
    """Has a model evaluated and imported on the backend that trains it.

    Conversion and push have no backend: with one they would miss the cache when it changes.
    """
    for node, (stage, _) in NODES.items():
        executor = spec["deploymentSpec"]["executors"].get(f"{node}_executor", {})
        if stage in _ON_KERAS and "container" in executor:
            executor["container"]["env"] = [{"name": "KERAS_BACKEND", "value": backend}]
