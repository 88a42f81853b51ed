"""Whether the project's quotas allow the accelerators that the config asks for."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import requests

from pipelines.request import Request
from pipelines.vertex.findings import TIMEOUT_S, Endpoints, Finding, enabled, reason
from pix2seq_model.experiment.settings import FLEX_START, SPOT

_UNLIMITED = 1 << 30
_TPUS = {"ct5lp": "tpu_v5e", "ct6e": "tpu_v6e"}


def check_accelerators(
    request: Request, session: requests.Session, endpoints: Endpoints
) -> Iterator[Finding]:
    """Compares what the config asks for with the project's quotas."""
    project, region = request.target.project, request.target.region
    flexible = request.target.machines.training.strategy == FLEX_START
    for use, metric, kind, wanted, setting in _wanted_accelerators(request):
        address = (
            f"{endpoints.service_usage}/v1beta1/projects/{project}/services/"
            f"aiplatform.googleapis.com/consumerQuotaMetrics/{quote(metric, safe='')}"
        )
        answer = enabled(session.get(address, timeout=TIMEOUT_S))
        limit = _limit_in(answer.json(), region) if answer.status_code == 200 else None
        where = f"{metric} under IAM & Admin, Quotas, of project {project}"
        if limit is None:
            yield Finding(
                what=f"the quota of {kind} for {use} in {region} cannot be read: {reason(answer)}",
                fix=f"look for {where}",
                blocks=False,
            )
        elif limit < wanted:
            yield Finding(
                what=f"{use} asks for {wanted} {kind}, the quota in {region} is {limit}",
                fix=f"ask for more of {where}, or lower {setting}",
                blocks=not (use == "training" and flexible),  # Its quota is not documented.
            )


def _wanted_accelerators(request: Request) -> Iterator[tuple[str, str, str, int, str]]:
    """Of each use: its name, the quota's, the kind, how many, and the setting that lowers it."""
    machines, endpoint = request.target.machines, request.config.push.endpoint
    training, evaluation = machines.training, machines.evaluation
    quota = "training_preemptible" if training.strategy == SPOT else "training"
    # The steps of a pipeline count as training.
    uses = {
        ("training", "cloud.training.worker_count"): (quota, training, training.worker_count),
        ("evaluation", "cloud.evaluation.accelerator_count"): ("training", evaluation, 1),
    }
    if endpoint.name and "push" in request.stages:
        served = ("serving", endpoint, endpoint.max_replicas)
        uses["the endpoint", "push.endpoint.max_replicas"] = served
    for (use, setting), (quota_of, machine, count) in uses.items():
        if machine.accelerator_count:
            name = machine.accelerator_type
            if machine.get("tpu_topology"):
                name = _TPUS.get(machine.machine_type.partition("-")[0], "tpu")
            kind = name.lower().replace("tesla_", "")
            unit = kind.replace("h100_80gb", "h100")
            unit += "" if kind.startswith("tpu_") else "_gpus"
            metric = f"aiplatform.googleapis.com/custom_model_{quota_of}_{unit}"
            yield use, metric, name, machine.accelerator_count * count, setting


def _limit_in(metric: dict[str, Any], region: str) -> int | None:
    """The effective limit of a quota in a region; that of all regions where it has none."""
    general = None
    for limit in metric.get("consumerQuotaLimits", []):
        for bucket in limit.get("quotaBuckets", []):
            value = int(bucket.get("effectiveLimit", 0))
            value = _UNLIMITED if value < 0 else value
            if bucket.get("dimensions", {}).get("region") == region:
                return value
            if not bucket.get("dimensions"):
                general = value
    return general
