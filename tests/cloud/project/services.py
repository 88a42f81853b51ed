"""Google's services by gRPC, with a project's state behind them: pipelines, jobs, conversions."""

import dataclasses
import datetime
import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from google.cloud.aiplatform_v1.types import (
    CreateCustomJobRequest,
    CreatePipelineJobRequest,
    GetPipelineJobRequest,
    PipelineJob,
    PipelineState,
    PipelineTaskDetail,
)
from google.cloud.dataflow_v1beta3 import types as dataflow
from google.cloud.resourcemanager_v3.types import GetProjectRequest
from google.cloud.resourcemanager_v3.types import Project as NamedProject
from google.protobuf import json_format

from tests.cloud.project import jobs
from tests.cloud.project.callers import caller
from tests.cloud.project.permissions import Refused, admit, demand
from tests.cloud.project.state import Project
from tests.cloud.vertex_executor.custom_jobs import handler
from tests.cloud.vertex_executor.executor import Executor

_STATES = {
    "SUCCEEDED": PipelineTaskDetail.State.SUCCEEDED,
    "CACHED": PipelineTaskDetail.State.SKIPPED,
    "SKIPPED": PipelineTaskDetail.State.NOT_TRIGGERED,
    "FAILED": PipelineTaskDetail.State.FAILED,
    "NOT_RUN": PipelineTaskDetail.State.NOT_TRIGGERED,
}
_DONE, _FAILED = dataflow.JobState.JOB_STATE_DONE, dataflow.JobState.JOB_STATE_FAILED


def asked_by(context: grpc.ServicerContext) -> dict[str, str]:
    """Who calls; see `callers.caller`."""
    return caller(dict(context.invocation_metadata()))


def admitted(context: grpc.ServicerContext, admit_it: Callable[..., Any], *args: Any, **how: Any):
    """Ends the call if somebody may not do it, in Google's words."""
    try:
        return admit_it(*args, **how)
    except Refused as refused:
        context.abort(getattr(grpc.StatusCode, refused.status), refused.message)


@dataclasses.dataclass
class Pipelines:
    """Vertex AI's service for pipeline jobs.

    Attributes:
      project: in which.
      executor: carries jobs out.
      folder: for the job files.
      carry_out: whether a job is carried out, or waits for ever.
      jobs: by name.
    """

    project: Project
    executor: Executor
    folder: Path
    carry_out: bool = True
    jobs: dict[str, PipelineJob] = dataclasses.field(default_factory=dict)

    def create(
        self, request: CreatePipelineJobRequest, context: grpc.ServicerContext
    ) -> PipelineJob:
        job = request.pipeline_job
        admitted(
            context,
            jobs.admit_pipeline_job,
            self.project,
            account=job.service_account,
            root=job.runtime_config.gcs_output_directory,
            **asked_by(context),
        )
        job.name = f"{request.parent}/pipelineJobs/{request.pipeline_job_id}"
        job.create_time = datetime.datetime.now(datetime.UTC)
        job.state = PipelineState.PIPELINE_STATE_PENDING
        self.jobs[job.name] = job
        if self.carry_out:
            threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def get(self, request: GetPipelineJobRequest, context: grpc.ServicerContext) -> PipelineJob:
        who = asked_by(context)
        content = admitted(
            context,
            admit,
            self.project,
            who["member"],
            "aiplatform.googleapis.com",
            quota_project=who["quota_project"],
        )
        admitted(context, demand, content, who["member"], "aiplatform.pipelineJobs.get", "project")
        return self.jobs[request.name]

    def _run(self, job: PipelineJob) -> None:
        job.state = PipelineState.PIPELINE_STATE_RUNNING
        written = json_format.MessageToDict(PipelineJob.pb(job))
        file = self.folder / f"{job.name.rsplit('/', 1)[-1]}.json"
        kept = {name: written[name] for name in ("pipelineSpec", "runtimeConfig")}
        file.write_text(json.dumps(kept))

        def note(name: str, ended: Any) -> None:
            state = _STATES[ended.state]
            job.job_detail.task_details.append(PipelineTaskDetail(task_name=name, state=state))

        try:
            ended = self.executor.run(file, said=note)
            failed = [name for name, step in ended.items() if step.state == "FAILED"]
        except Exception as error:
            job.error = {"code": 13, "message": f"{type(error).__name__}: {error}"}
            failed = ["the job itself"]
        end = "FAILED" if failed else "SUCCEEDED"
        job.state = PipelineState[f"PIPELINE_STATE_{end}"]

    def handlers(self) -> grpc.GenericRpcHandler:
        methods = {
            "CreatePipelineJob": handler(self.create, CreatePipelineJobRequest, PipelineJob),
            "GetPipelineJob": handler(self.get, GetPipelineJobRequest, PipelineJob),
        }
        service = "google.cloud.aiplatform.v1.PipelineService"
        return grpc.method_handlers_generic_handler(service, methods)


@dataclasses.dataclass
class Conversions:
    """Dataflow.

    Attributes:
      project: in which.
      run: carries out a job, told of its pipeline's address; returns whether it succeeded.
      jobs: by id.
      why: of jobs that failed.
    """

    project: Project
    run: Callable[[str], bool]
    jobs: dict[str, dataflow.Job] = dataclasses.field(default_factory=dict)
    why: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def create(
        self, request: dataflow.CreateJobRequest, context: grpc.ServicerContext
    ) -> dataflow.Job:
        job = request.job
        admitted(
            context,
            jobs.admit_dataflow_job,
            self.project,
            account=job.environment.service_account_email,
            **asked_by(context),
        )
        job.id = f"job-{next(self._numbers)}"
        job.project_id, job.location = request.project_id, request.location
        job.create_time = datetime.datetime.now(datetime.UTC)
        job.current_state = dataflow.JobState.JOB_STATE_RUNNING
        self.jobs[job.id] = job
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def _run(self, job: dataflow.Job) -> None:
        (pool,) = job.environment.worker_pools
        image = pool.sdk_harness_container_images[0].container_image
        account = job.environment.service_account_email
        self.why[job.id] = jobs.why_workers_fail(self.project, account=account, image=image)
        options = json_format.MessageToDict(
            dataflow.Environment.pb(job.environment).sdk_pipeline_options
        )
        done = False
        if not self.why[job.id]:
            try:
                done = self.run(options["options"]["pipelineUrl"])
            except Exception as error:
                self.why[job.id] = f"{type(error).__name__}: {error}"
        job.current_state = _DONE if done else _FAILED

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        def method(
            service: str, name: str, request: type, answered: type, answer: Callable
        ) -> grpc.GenericRpcHandler:
            methods = {name: handler(answer, request, answered)}
            return grpc.method_handlers_generic_handler(
                f"google.dataflow.v1beta3.{service}", methods
            )

        return [
            grpc.method_handlers_generic_handler(
                "google.dataflow.v1beta3.JobsV1Beta3",
                {
                    "CreateJob": handler(self.create, dataflow.CreateJobRequest, dataflow.Job),
                    "GetJob": handler(
                        lambda request, _: self.jobs[request.job_id],
                        dataflow.GetJobRequest,
                        dataflow.Job,
                    ),
                },
            ),
            method(
                "MessagesV1Beta3",
                "ListJobMessages",
                dataflow.ListJobMessagesRequest,
                dataflow.ListJobMessagesResponse,
                lambda *_: dataflow.ListJobMessagesResponse(),
            ),
            method(
                "MetricsV1Beta3",
                "GetJobMetrics",
                dataflow.GetJobMetricsRequest,
                dataflow.JobMetrics,
                lambda *_: dataflow.JobMetrics(),
            ),
        ]


def named_project(project: Project) -> grpc.GenericRpcHandler:
    """Resource Manager, which says a project's number."""

    def get(request: GetProjectRequest, context: grpc.ServicerContext) -> NamedProject:
        who = asked_by(context)
        service = "cloudresourcemanager.googleapis.com"
        content = admitted(
            context, admit, project, who["member"], service, quota_project=who["quota_project"]
        )
        return NamedProject(
            name=f"projects/{content['number']}", project_id=request.name.partition("/")[2]
        )

    methods = {"GetProject": handler(get, GetProjectRequest, NamedProject)}
    return grpc.method_handlers_generic_handler("google.cloud.resourcemanager.v3.Projects", methods)


def admit_training(
    project: Project,
) -> Callable[[CreateCustomJobRequest, grpc.ServicerContext], None]:
    """For `custom_jobs.handlers`: looks at who starts a training, as whom, from which image."""

    def admit_it(request: CreateCustomJobRequest, context: grpc.ServicerContext) -> None:
        spec = request.custom_job.job_spec
        admitted(
            context,
            jobs.admit_custom_job,
            project,
            account=spec.service_account,
            images=[pool.container_spec.image_uri for pool in spec.worker_pool_specs],
            **asked_by(context),
        )

    return admit_it
