"""MLflow, as one of the loggers; see `tracker`."""

import os
import time
from collections.abc import Mapping
from typing import Any

from pix2seq_model.training.tracker import FAILED, FINISHED, INTERRUPTED, TrackedRun

_STATUS = {FINISHED: "FINISHED", INTERRUPTED: "KILLED", FAILED: "FAILED"}
# What MLflow takes of a value, and in one request.
_MAX_LENGTH, _MAX_PARAMETERS = 6000, 100


class MLflowTracker:
    """By MLflow's client with the id of the run, so that no other run of the process is touched.

    Where the server is, and who logs in, MLflow reads from MLFLOW_TRACKING_URI,
    MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN.
    """

    name = extra = "mlflow"

    def __init__(self, tracking_uri: str = "") -> None:
        """
        Args:
          tracking_uri: of the server or store; empty: that of the environment.
        """
        self._tracking_uri = tracking_uri
        self._client: Any = None
        self._run_id = ""
        # That the run lacks still.
        self._parameters: dict[str, Any] = {}

    def open(self, run: TrackedRun, run_id: str | None) -> str:
        # Here, since few installations have it, and it takes seconds.
        from mlflow import MlflowClient

        # Its progress belongs to its own commands, as "View run at ...".
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        client = MlflowClient(tracking_uri=self._tracking_uri or None)
        self._client = client
        known = _parameters_of(client, run_id) if run_id else None
        if run_id is None or known is None:
            experiment = client.get_experiment_by_name(run.project)
            experiment_id = (
                experiment.experiment_id if experiment else client.create_experiment(run.project)
            )
            created = client.create_run(experiment_id, tags=dict(run.tags), run_name=run.name)
            run_id = created.info.run_id
        else:
            client.update_run(run_id, status="RUNNING")
        # It takes no other values for those that it has.
        self._parameters = {n: v for n, v in run.parameters.items() if n not in (known or {})}
        self._run_id = run_id
        return run_id

    def _log_parameters(self) -> None:
        """Apart from `open`: where this fails the run is there, and must not be created again."""
        from mlflow.entities import Param

        while self._parameters:
            names = list(self._parameters)[:_MAX_PARAMETERS]
            params = [Param(name, str(self._parameters[name])[:_MAX_LENGTH]) for name in names]
            self._client.log_batch(self._run_id, params=params)
            for name in names:
                del self._parameters[name]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        self._log_parameters()
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def close(self, outcome: str) -> None:
        self._client.set_terminated(self._run_id, _STATUS[outcome])


def _parameters_of(client: Any, run_id: str) -> Mapping[str, str] | None:
    """What a run has; None where this server has no such run: others were used before perhaps."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run.data.params if run.info.lifecycle_stage == "active" else None
