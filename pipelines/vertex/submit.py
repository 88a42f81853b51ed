"""Submits a job file to Vertex AI, follows the run, cancels it with all that it started."""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.request import Request
from pipelines.vertex.children import Child, children
from pipelines.vertex.job import parameters_of
from pix2seq_model.errors import ConfigError

_POLL_S = 20.0
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "PAUSED")
_PATIENCE = 15  # questions in a row that are not answered, before following gives up


def submit(request: Request, job_file: Path, parameters: Mapping[str, str]) -> Any:
    """Submits a compiled job; returns the client's `PipelineJob`.

    Args:
      request: completed by `vertex_job.on_cloud`.
      job_file: what `vertex_job.write_job` wrote, now or earlier.
      parameters: of the job, that replace the values in the file.

    Raises:
      ConfigError: the job has no such parameter; the experiment cannot be had.
    """
    job = _job(request, job_file, parameters)
    machines = request.target.machines
    if machines.network_attachment:  # The client has no argument for it.
        job._gca_resource.psc_interface_config = {"network_attachment": machines.network_attachment}
    try:
        job.submit(**_run_as(request), experiment=machines.experiment or None)
    except RuntimeError as error:
        if not job._gca_resource.name:
            raise ConfigError(f"cloud.experiment={machines.experiment}: {error}.") from error
        warnings.warn(f"the run goes on, but {error}", stacklevel=2)
    return job


def schedule(request: Request, job_file: Path, parameters: Mapping[str, str], *, cron: str) -> Any:
    """Lets Vertex AI submit the job again and again; returns the client's `PipelineJobSchedule`.

    Args:
      request, job_file, parameters: see `submit`.
      cron: minute, hour, day, month, weekday; "TZ=Europe/Berlin 0 3 * * 1" names a time zone.

    Raises:
      ConfigError: the job has no such parameter; a setting that schedules do not take.
    """
    for name in ("experiment", "network_attachment"):
        if request.target.machines[name]:
            raise ConfigError(
                f"cloud.{name}: Vertex AI's client does not pass it on to the runs of a schedule; "
                f"leave it out, or submit each run."
            )
    return _job(request, job_file, parameters).create_schedule(
        cron=cron,
        display_name=request.pipeline_name,
        max_concurrent_run_count=1,  # Two runs of the same training would share its checkpoints.
        **_run_as(request),
    )


def _run_as(request: Request) -> dict[str, str | None]:
    """As whom, and in which network, the steps run."""
    machines = request.target.machines
    return {
        "service_account": machines.service_account or None,
        "network": machines.network or None,
    }


def _job(request: Request, job_file: Path, parameters: Mapping[str, str]) -> Any:
    from google.cloud import aiplatform

    named = parameters_of(job_file)
    for name in parameters:
        if name not in named:
            raise ConfigError(
                f"--parameters: the job has no parameter {name!r}; it has {', '.join(named)}."
            )
    return aiplatform.PipelineJob(
        display_name=request.pipeline_name,
        template_path=str(job_file),
        pipeline_root=request.pipeline_root,
        parameter_values=dict(parameters),
        # As compiled: True would have the latest blessed model looked up in the cache too.
        enable_caching=None if request.use_cache else False,
        labels=request.target.labels(request.pipeline_name),
        encryption_spec_key_name=request.target.machines.encryption_key or None,
        project=request.target.project,
        location=request.target.region,
    )


def console_link(job: Any, request: Request) -> str:
    """Where a browser shows the run."""
    return (
        "https://console.cloud.google.com/vertex-ai/locations/"
        f"{request.target.region}/pipelines/runs/{job.resource_name.rsplit('/', 1)[-1]}"
        f"?project={request.target.project}"
    )


def runs_link(request: Request) -> str:
    """Where a browser shows all runs and schedules of the project."""
    return (
        "https://console.cloud.google.com/vertex-ai/pipelines/runs"
        f"?project={request.target.project}"
    )


def follow(
    job: Any,
    console: Console,
    *,
    cancel: Callable[[], None],
    started: Callable[[], Iterable[Child]] = tuple,
) -> int:
    """Shows the run's steps until it ends, and links to the jobs that it starts.

    On Ctrl-C asks whether to cancel it; where nobody answers, it is not cancelled.

    Args:
      job: as `submit` returns it.
      console: to show it on.
      cancel: stops the run and all that it started.
      started: the jobs that it started so far.

    Returns:
      The exit status: 0 if the run succeeded or continues unwatched, 1 if it failed, 130 if it was
      cancelled.
    """
    try:
        _watch(job, console, started)
    except KeyboardInterrupt:
        if not _is_wanted("Cancel the run in the cloud? [y/N] "):
            console.print("The run continues; nothing follows it here any more.")
            return 0
        said = "It may not have been told to stop, and continue"
        try:
            cancel()
            said = "It was told to stop"
            console.print("Cancelling ...")
            _watch(job, console, tuple)
        except KeyboardInterrupt:
            console.print(f"{said}; nothing follows it here any more.")
            return 130
    state = _name(job.state)
    for task in job.task_details:
        if _name(task.state) == "FAILED":
            console.print(f"{task.task_name} failed: {task.error.message}", markup=False)
    console.print("Cancelled." if state == "CANCELLED" else f"The run ended: {state}")
    return {"SUCCEEDED": 0, "CANCELLED": 130}.get(state, 1)


def _is_wanted(question: str) -> bool:
    """Whether a person says yes; another Ctrl-C, or no terminal to answer at, is none."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except (KeyboardInterrupt, EOFError):
        print()  # The question's line has no end yet.
        return False


def cancel(job: Any, request: Request) -> None:
    """Cancels a run, the custom jobs that train for it, and its jobs on Dataflow.

    Vertex AI ends a run's steps, but not what they started elsewhere, which would continue to cost
    money.
    """
    job.cancel()
    for child in children(job, request, running=True):
        child.cancel()


def _watch(job: Any, console: Console, started: Callable[[], Iterable[Child]]) -> None:
    """Shows the steps until the run ends; a few failed questions to Google do not end it."""
    from google.api_core.exceptions import GoogleAPICallError

    unanswered = 0
    linked: set[str] = set()
    with Live(_table(job), console=console, refresh_per_second=1) as live:
        while True:
            try:
                state = _name(job.state)
                live.update(_table(job))
                _link(started, linked, live.console)
                if state in _ENDED:
                    return
                # A state that is not said is no answer.
                unanswered = unanswered + 1 if state == "UNSPECIFIED" else 0
                if unanswered > _PATIENCE:
                    raise ConnectionError(
                        f"Vertex AI does not say the state of {job.resource_name}"
                    )
            except (GoogleAPICallError, ConnectionError):
                unanswered += 1
                if unanswered > _PATIENCE:
                    raise
            time.sleep(_POLL_S)


def _link(started: Callable[[], Iterable[Child]], linked: set[str], console: Console) -> None:
    """Shows where each new job has its log; without an answer, or the right to one, nothing."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    with contextlib.suppress(GoogleAPICallError, GoogleAuthError, OSError):
        for child in started():
            if child.link not in linked:
                linked.add(child.link)
                console.print(f"{child.name}: {child.link}", markup=False, soft_wrap=True)


def _table(job: Any) -> Table:
    table = Table("Step", "State", "Time", box=None, padding=(0, 2, 0, 0))
    for task in job.task_details:
        start, end = task.start_time, task.end_time
        seconds = f"{(end - start).total_seconds():.0f} s" if start and end else ""
        table.add_row(task.task_name, _name(task.state), seconds)
    return table


def _name(state: Any) -> str:
    """PipelineState.PIPELINE_STATE_RUNNING -> "RUNNING"."""
    return state.name.removeprefix("PIPELINE_STATE_")
