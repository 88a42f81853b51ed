"""What a run starts elsewhere: custom jobs that train, and jobs on Dataflow.

They have the run's label and a later start.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from pipelines.cloud_target import CONFIG_LABEL
from pipelines.request import Request

_CONSOLE = "https://console.cloud.google.com"
_RUNNING = ("QUEUED", "PENDING", "RUNNING")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Child:
    """A job that a run started.

    Attributes:
      name: for people.
      link: to its page, with its log, in a browser.
      cancel: stops it.
    """

    name: str
    link: str
    cancel: Callable[[], Any]


def children(job: Any, request: Request, *, running: bool = False) -> Iterator[Child]:
    """The jobs that a run started, of those that Google can list.

    Args:
      job: the run, as `submit.submit` returns it.
      request: that it was submitted with.
      running: leave out those that have ended.

    Raises:
      GoogleAPICallError: one of the lists is refused.
    """
    yield from _custom_jobs(request, since=job.create_time, running=running)
    if "--runner=DataflowRunner" in request.beam_args:
        yield from _dataflow_jobs(request, since=job.create_time, running=running)


def _label(request: Request) -> str:
    return request.target.labels(request.pipeline_name)[CONFIG_LABEL]


def _custom_jobs(request: Request, *, since: datetime, running: bool) -> Iterator[Child]:
    from google.cloud import aiplatform

    project, region = request.target.project, request.target.region
    states = " OR ".join(f'state="JOB_STATE_{name}"' for name in _RUNNING)
    found: Any = aiplatform.CustomJob.list(
        filter=f'labels.{CONFIG_LABEL}="{_label(request)}"' + f" AND ({states})" * running,
        project=project,
        location=region,
    )
    for job in found:
        if job.create_time >= since:
            place = f"vertex-ai/locations/{region}/training/{job.name}?project={project}"
            yield Child(name=job.display_name, link=f"{_CONSOLE}/{place}", cancel=job.cancel)


def _dataflow_jobs(request: Request, *, since: datetime, running: bool) -> Iterator[Child]:
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
    from google.cloud import dataflow_v1beta3 as dataflow

    options = PipelineOptions(list(request.beam_args)).view_as(GoogleCloudOptions)
    client = dataflow.JobsV1Beta3Client(
        transport="rest", client_options={"api_endpoint": options.dataflow_endpoint}
    )
    place = {"project_id": options.project, "location": options.region}
    wanted = dataflow.ListJobsRequest.Filter.ACTIVE if running else None
    stop = dataflow.Job(requested_state=dataflow.JobState.JOB_STATE_CANCELLED)
    for found in client.list_jobs(dataflow.ListJobsRequest(filter=wanted, **place)):
        if found.labels.get(CONFIG_LABEL) == _label(request) and found.create_time >= since:
            ended = dataflow.UpdateJobRequest(job_id=found.id, job=stop, **place)
            page = f"dataflow/jobs/{options.region}/{found.id}?project={options.project}"
            yield Child(
                name=found.name or found.id,
                link=f"{_CONSOLE}/{page}",
                cancel=functools.partial(client.update_job, ended),
            )
