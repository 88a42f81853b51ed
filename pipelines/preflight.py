"""What is missing before a job can run on Google Cloud, each with the command that mends it.

Asks Google's REST interfaces with the user's own credentials; changes nothing.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from pipelines.request import Request

_REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements" / "runtime.txt"
REQUIREMENTS_LABEL = "pix2seq.requirements"
_APIS = ("aiplatform", "artifactregistry", "compute", "dataflow", "storage")
_PERMISSIONS = {
    "aiplatform.pipelineJobs.create": "roles/aiplatform.user",
    "aiplatform.customJobs.create": "roles/aiplatform.user",
    "dataflow.jobs.create": "roles/dataflow.developer",
}
_BUCKET_PERMISSIONS = ("storage.objects.create", "storage.objects.delete", "storage.objects.get")
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT_S = 30
_UNLIMITED = 1 << 30
_MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where to ask; other addresses serve the tests."""

    service_usage: str = "https://serviceusage.googleapis.com"
    storage: str = "https://storage.googleapis.com"
    resource_manager: str = "https://cloudresourcemanager.googleapis.com"
    iam: str = "https://iam.googleapis.com"
    registry_scheme: str = "https"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is missing.

    Attributes:
      what: one sentence.
      mend: the command that mends it, or where to.
    """

    what: str
    mend: str


def preflight(
    request: Request,
    *,
    session: requests.Session | None = None,
    endpoints: Endpoints | None = None,
) -> list[Finding]:
    """Checks everything a job needs; an empty list means that nothing was found missing.

    Args:
      request: completed by `vertex_job.on_cloud`.
      session: carries credentials; the user's own if None.
      endpoints: where to ask.
    """
    if session is None:
        session, finding = _authorized_session()
        if finding:
            return [finding]
    check = _Checks(request, session, endpoints or Endpoints())
    steps: tuple[Callable[[], Iterator[Finding]], ...] = (
        *(check.apis, check.bucket, check.image, check.accelerators),
        *(check.permissions, check.service_account),
    )
    findings = []
    for step in steps:
        try:
            findings += step()
        except requests.RequestException as error:
            findings.append(
                Finding(
                    what=f"{step.__name__.replace('_', ' ')}: no answer ({error})",
                    mend="check the network and try again",
                )
            )
    return findings


def requirements_digest() -> str:
    """Identity of the pinned packages; the image carries it as a label."""
    return hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:16]


def _authorized_session() -> tuple[Any, Finding | None]:
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession
    from google.auth.transport.requests import Request as AuthRequest

    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        credentials.refresh(AuthRequest())
    except GoogleAuthError as error:
        return None, Finding(
            what=f"no credentials for Google Cloud ({type(error).__name__})",
            mend="gcloud auth application-default login",
        )
    return AuthorizedSession(credentials), None


class _Checks:
    def __init__(self, request: Request, session: requests.Session, endpoints: Endpoints) -> None:
        self._request, self._session, self._at = request, session, endpoints
        self._project, self._region = request.cloud.project, request.cloud.region

    def apis(self) -> Iterator[Finding]:
        names = "&".join(
            f"names=projects/{self._project}/services/{api}.googleapis.com" for api in _APIS
        )
        answer = self._get(
            f"{self._at.service_usage}/v1/projects/{self._project}/services:batchGet?{names}"
        )
        if answer.status_code != 200:
            yield Finding(
                what=f"project {self._project} cannot be looked at: {_reason(answer)}",
                mend=f"gcloud projects describe {self._project}",
            )
            return
        missing = [
            service["config"]["name"]
            for service in answer.json().get("services", [])
            if service.get("state") != "ENABLED"
        ]
        if missing:
            yield Finding(
                what=f"services that are not enabled: {', '.join(missing)}",
                mend=f"gcloud services enable {' '.join(missing)} --project={self._project}",
            )

    def bucket(self) -> Iterator[Finding]:
        bucket = self._request.pipeline_root.removeprefix("gs://").partition("/")[0]
        address = f"{self._at.storage}/storage/v1/b/{bucket}"
        answer = self._get(address)
        if answer.status_code == 404:
            yield Finding(
                what=f"there is no bucket gs://{bucket}",
                mend=f"gcloud storage buckets create gs://{bucket} --location={self._region} "
                f"--project={self._project}",
            )
            return
        if answer.status_code != 200:
            yield Finding(
                what=f"gs://{bucket} cannot be looked at: {_reason(answer)}",
                mend=f"gcloud storage buckets describe gs://{bucket}",
            )
            return
        location = answer.json()["location"].lower()
        if not self._region.startswith(_region_prefix(location)):
            yield Finding(
                what=f"gs://{bucket} lies in {location}, the job runs in {self._region}",
                mend=f"give a bucket in {self._region}, or --region={location}",
            )
        wanted = "&".join(f"permissions={name}" for name in _BUCKET_PERMISSIONS)
        granted = self._get(f"{address}/iam/testPermissions?{wanted}").json().get("permissions", [])
        if missing := sorted({*_BUCKET_PERMISSIONS} - {*granted}):
            yield Finding(
                what=f"on gs://{bucket} you lack {', '.join(missing)}",
                mend=f"gcloud storage buckets add-iam-policy-binding gs://{bucket} "
                "--member=user:YOU --role=roles/storage.objectAdmin",
            )

    def image(self) -> Iterator[Finding]:
        image = self._request.cloud.image
        host, _, rest = image.partition("/")
        name, at, reference = rest.partition("@")
        if not at:
            name, _, reference = rest.partition(":")
        base = f"{self._at.registry_scheme}://{host}/v2/{name}"
        manifest = self._manifest(base, reference or "latest")
        if manifest.status_code != 200:
            yield Finding(
                what=f"image {image} cannot be read: {_reason(manifest)}",
                mend=f"docker build -t {image} . && docker push {image}",
            )
            return
        config = self._get(f"{base}/blobs/{manifest.json()['config']['digest']}").json()
        label = (config.get("config", {}).get("Labels") or {}).get(REQUIREMENTS_LABEL, "no label")
        if label != requirements_digest():
            yield Finding(
                what=f"image {image} was built with other packages than these ({label}, here "
                f"{requirements_digest()})",
                mend="docker build "
                f"--build-arg REQUIREMENTS={requirements_digest()} -t {image} . "
                f"&& docker push {image}",
            )

    def _manifest(self, base: str, reference: str) -> requests.Response:
        """The image's manifest, looked up in an index where the name stands for one."""
        accept = ", ".join(_MANIFEST_TYPES)
        answer = self._get(f"{base}/manifests/{reference}", accept=accept)
        if answer.status_code == 200 and "manifests" in answer.json():
            for entry in answer.json()["manifests"]:
                if entry.get("platform", {}).get("architecture") == "amd64":
                    return self._get(f"{base}/manifests/{entry['digest']}", accept=accept)
        return answer

    def accelerators(self) -> Iterator[Finding]:
        training = self._request.cloud.machines.training
        if not training.accelerator_count:
            return
        wanted = training.accelerator_count * training.worker_count
        kind = training.accelerator_type.lower().removeprefix("nvidia_").removeprefix("tesla_")
        metric = f"aiplatform.googleapis.com/custom_model_training_nvidia_{kind}_gpus"
        answer = self._get(
            f"{self._at.service_usage}/v1beta1/projects/{self._project}/services/"
            f"aiplatform.googleapis.com/consumerQuotaMetrics/{quote(metric, safe='')}"
        )
        limit = _limit_in(answer.json(), self._region) if answer.status_code == 200 else None
        if limit is None:
            yield Finding(
                what=f"the quota of {training.accelerator_type} in {self._region} cannot be read: "
                f"{_reason(answer)}",
                mend=f"look for {metric} under IAM & Admin, Quotas, of project {self._project}",
            )
        elif limit < wanted:
            yield Finding(
                what=f"training asks for {wanted} {training.accelerator_type}, the quota in "
                f"{self._region} is {limit}",
                mend=f"ask for more of {metric} under IAM & Admin, Quotas, of project "
                f"{self._project}, or lower cloud.training.worker_count",
            )

    def permissions(self) -> Iterator[Finding]:
        answer = self._post(
            f"{self._at.resource_manager}/v1/projects/{self._project}:testIamPermissions",
            {"permissions": list(_PERMISSIONS)},
        )
        granted = answer.json().get("permissions", []) if answer.status_code == 200 else []
        for role in sorted({role for name, role in _PERMISSIONS.items() if name not in granted}):
            yield Finding(
                what=f"in project {self._project} you lack what {role} grants",
                mend=f"gcloud projects add-iam-policy-binding {self._project} --member=user:YOU "
                f"--role={role}",
            )

    def service_account(self) -> Iterator[Finding]:
        account = self._request.cloud.machines.service_account
        if not account:
            return
        answer = self._post(
            f"{self._at.iam}/v1/projects/-/serviceAccounts/{account}:testIamPermissions",
            {"permissions": ["iam.serviceAccounts.actAs"]},
        )
        if answer.status_code != 200 or not answer.json().get("permissions"):
            yield Finding(
                what=f"you may not start jobs as {account}: {_reason(answer)}",
                mend=f"gcloud iam service-accounts add-iam-policy-binding {account} "
                f"--member=user:YOU --role=roles/iam.serviceAccountUser --project={self._project}",
            )

    def _get(self, address: str, *, accept: str = "application/json") -> requests.Response:
        return self._session.get(address, headers={"Accept": accept}, timeout=_TIMEOUT_S)

    def _post(self, address: str, content: dict[str, Any]) -> requests.Response:
        return self._session.post(address, json=content, timeout=_TIMEOUT_S)


def _reason(answer: requests.Response) -> str:
    try:
        message = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = answer.reason
    return f"{answer.status_code} {message}"


def _region_prefix(location: str) -> str:
    """What the names of the regions inside a bucket's location begin with."""
    return {"eu": "europe-", "us": "us-", "asia": "asia-"}.get(location, location)


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
