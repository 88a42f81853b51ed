"""Submits a job file to Vertex AI and follows the run."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.request import Request

_POLL_S = 20.0
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


def submit(request: Request, job_file: Path, *, credentials: Any = None) -> Any:
    """Submits a compiled job; returns the client's `PipelineJob`.

    Args:
      request: completed by `vertex_job.on_cloud`.
      job_file: what `vertex_job.write_job` wrote.
      credentials: the user's own if None.
    """
    from google.cloud import aiplatform

    job = aiplatform.PipelineJob(
        display_name=request.pipeline_name,
        template_path=str(job_file),
        pipeline_root=request.pipeline_root,
        enable_caching=request.use_cache,
        labels={"pix2seq-config": request.pipeline_name[:63]},
        project=request.cloud.project,
        location=request.cloud.region,
        credentials=credentials,
    )
    job.submit(service_account=request.cloud.machines.service_account or None)
    return job


def console_link(job: Any, request: Request) -> str:
    """Where a browser shows the run."""
    return (
        "https://console.cloud.google.com/vertex-ai/locations/"
        f"{request.cloud.region}/pipelines/runs/{job.resource_name.rsplit('/', 1)[-1]}"
        f"?project={request.cloud.project}"
    )


def follow(
    job: Any,
    console: Console,
    *,
    ask: Callable[[str], str] = input,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Shows the run's steps until it ends; on Ctrl-C asks whether to cancel it.

    Returns:
      The exit status: 0 if the run succeeded or goes on unwatched, 1 if it failed, 130 if it was
      cancelled.
    """
    try:
        with Live(_table(job), console=console, refresh_per_second=1) as live:
            while _name(job.state) not in _ENDED:
                sleep(_POLL_S)
                live.update(_table(job))
    except KeyboardInterrupt:
        if ask("Cancel the run in the cloud? [y/N] ").strip().lower() in ("y", "yes"):
            job.cancel()
            console.print("Cancelled.")
            return 130
        console.print("The run goes on; nothing follows it here any more.")
        return 0
    state = _name(job.state)
    console.print(f"The run ended: {state}")
    return 0 if state == "SUCCEEDED" else 1


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
