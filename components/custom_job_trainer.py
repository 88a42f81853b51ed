"""Trains as a custom job on Vertex AI: the step starts it, or follows the one that runs already.

A step that dies leaves its custom job training. The step that is tried again finds that job by its
label instead of paying for another one, which would meet the first one's lock on the work folder.

Separate from `trainer`, because Google's client takes seconds to import.
"""

import hashlib
import json
import time
from typing import Any

from absl import logging
from etils import epath
from google.api_core.exceptions import RetryError, ServerError, TooManyRequests
from google.cloud.aiplatform_v1.types import CustomJob
from tfx.dsl.components.base import base_executor, executor_spec
from tfx.extensions.google_cloud_ai_platform import constants, training_clients
from tfx.extensions.google_cloud_ai_platform.trainer.executor import TRAINING_ARGS_KEY
from tfx.utils import name_utils

from components import trainer
from components.cloud_log import logged
from components.remembered_failure import note_of, noted_failure, remembered
from components.specs import Artifacts
from pix2seq_model.errors import UserError
from pix2seq_model.model_folder.folder import MODEL_FILE

# The digest of the work folder: jobs with the same would train the same.
WORK_LABEL = "pix2seq-work"
_POLL_S = 30.0
_PATIENCE = 20  # questions in a row without an answer, before the step gives up
_UNANSWERED = (RetryError, ServerError, TooManyRequests, ConnectionError)
_TO_FOLLOW = ("QUEUED", "PENDING", "RUNNING", "UPDATING")
_NOT_ENDED = (*_TO_FOLLOW, "CANCELLING", "UNSPECIFIED")


class _Jobs(training_clients.VertexJobClient):
    """TFX's client of custom jobs, which also finds one that runs, and knows every state."""

    def find(self, project: str, work: str) -> str:
        """The name of the latest job of the same work that has not ended; "" if there is none."""
        states = " OR ".join(f'state="JOB_STATE_{name}"' for name in _TO_FOLLOW)
        found = self._client.list_custom_jobs(
            request={
                "parent": f"projects/{project}/locations/{self._region}",
                "filter": f"labels.{WORK_LABEL}={work} AND ({states})",
            }
        )
        latest = max(found, key=lambda job: job.create_time, default=None)
        self._job_name = latest.name if latest else ""
        return self._job_name

    def wait(self) -> CustomJob:
        """Returns the job that was found or launched last, once it has ended.

        Raises:
          RuntimeError, GoogleAPICallError: its state could not be found out for ten minutes.
        """
        unanswered = 0
        while True:
            try:
                job = self.get_job()
                state = state_of(job)
            except _UNANSWERED:
                if unanswered >= _PATIENCE:
                    raise
                state = "UNSPECIFIED"
            if state not in _NOT_ENDED:
                return job
            unanswered = unanswered + 1 if state == "UNSPECIFIED" else 0
            if unanswered > _PATIENCE:
                raise RuntimeError(f"Vertex AI does not say the state of {self._job_name}")
            time.sleep(_POLL_S)


class Executor(base_executor.BaseExecutor):
    """Starts a job with the machines that `custom_config` describes; it runs `trainer.Executor`."""

    def Do(  # noqa: N802
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        exec_properties = trainer.with_overrides(exec_properties)
        exec_properties = trainer.with_inputs(exec_properties, input_dict)
        config = json.loads(exec_properties["custom_config"])
        model_dir = output_dict["model"][0].uri
        note = config[trainer.FAILURE_NOTE] = note_of(self._context, model_dir)
        exec_properties = {**exec_properties, "custom_config": json.dumps(config)}
        job_args = dict(config[TRAINING_ARGS_KEY])
        project = job_args.pop("project")
        work = hashlib.sha256(config["work_dir"].encode()).hexdigest()[:32]
        job_args["labels"] = {**job_args["labels"], WORK_LABEL: work}
        if job_args["job_spec"].get("tensorboard"):
            # Vertex AI tells the job to write below it, AIP_TENSORBOARD_LOG_DIR, and looks there.
            folder = {"output_uri_prefix": output_dict["model_run"][0].uri}
            job_args["job_spec"] = {**job_args["job_spec"], "base_output_directory": folder}
        with remembered(note):
            jobs = _Jobs(config[constants.VERTEX_REGION_KEY])
            if name := jobs.find(project, work):
                logging.info("Following %s, which trains this already.", name)
                _check(jobs.wait(), note)
                if (epath.Path(model_dir) / MODEL_FILE).exists():
                    return
                # It was started by another attempt and wrote its model there. A job of our own
                # continues from its last checkpoint, and has the model to write.
            executor_class = name_utils.get_full_name(trainer.Executor)
            job = jobs.create_training_job(
                input_dict, output_dict, exec_properties, executor_class, job_args, None, None
            )
            for pool in job["job_spec"]["worker_pool_specs"]:
                pool["container_spec"]["command"] = logged(pool["container_spec"]["command"])
            jobs.launch_job(project, job)
            _check(jobs.wait(), note)


def _check(job: CustomJob, note: str) -> None:
    """Raises unless the job succeeded: a UserError where another attempt would not help."""
    state = state_of(job)
    if state == "SUCCEEDED":
        return
    if message := noted_failure(note):
        raise UserError(message)
    what = f"the custom job {job.name} ended as {state}"
    if state == "CANCELLED":
        raise UserError(f"{what}: it is not started again by itself.")
    if state == "EXPIRED":
        raise UserError(
            f"{what}: it took longer than allowed. Raise cloud.training.max_days and submit the "
            "run again; training continues from its last checkpoint."
        )
    raise RuntimeError(f"{what}: {job.error.message or 'see its log'}")


def state_of(job: CustomJob) -> str:
    """JOB_STATE_RUNNING -> "RUNNING"; the number of a state that this client does not know."""
    return getattr(job.state, "name", str(job.state)).removeprefix("JOB_STATE_")


class CustomJobTrainer(trainer.Trainer):
    """`Trainer` on machines of its own."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
