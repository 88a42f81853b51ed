"""What is missing before a job can run on Google Cloud, each with the command that fixes it.

Asks Google's REST interfaces with the user's own credentials; changes nothing.
"""

from collections.abc import Callable, Iterator
from typing import Any

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport import requests as google_requests

from pipelines.request import Request
from pipelines.vertex.findings import TIMEOUT_S, Endpoints, Finding, reason
from pipelines.vertex.image import check_image
from pipelines.vertex.quota import check_accelerators

_APIS = ("aiplatform", "artifactregistry", "compute", "storage")
_PERMISSIONS = {
    "aiplatform.pipelineJobs.create": "roles/aiplatform.user",
    "aiplatform.customJobs.cancel": "roles/aiplatform.user",
}
_DATAFLOW_PERMISSIONS = {"dataflow.jobs.cancel": "roles/dataflow.developer"}
# What the jobs' service account needs, and what grants as much.
_ACCOUNT_ROLES = {
    "roles/aiplatform.user": "roles/aiplatform.admin",
    "roles/storage.objectAdmin": "roles/storage.admin",
}
_DATAFLOW_ACCOUNT_ROLES = {
    "roles/dataflow.developer": "roles/dataflow.admin",
    "roles/dataflow.worker": "roles/dataflow.worker",
}
_WIDEST_ROLES = {"roles/owner", "roles/editor"}
_YOU = '"user:$(gcloud config get account)"'
_BUCKET_PERMISSIONS = ("storage.objects.create", "storage.objects.delete", "storage.objects.get")
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


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
        try:
            session = _authorized_session()
        except GoogleAuthError as error:
            what = f"no credentials for Google Cloud ({type(error).__name__})"
            return [Finding(what=what, fix="gcloud auth application-default login")]
    check = _Checks(request, session, endpoints or Endpoints())
    steps: tuple[Callable[[], Iterator[Finding]], ...] = (
        *(check.apis, check.region, check.bucket, check.image, check.accelerators),
        *(check.permissions, check.service_account, check.service_account_roles),
    )
    findings: list[Finding] = []
    for step in steps:
        try:
            findings += step()
        except requests.RequestException as error:
            what = f"{step.__name__.replace('_', ' ')}: no answer ({error})"
            findings.append(Finding(what=what, fix="look at the network and try again"))
    return findings


def _authorized_session() -> requests.Session:
    credentials, _ = google.auth.default(scopes=[_SCOPE])
    credentials.refresh(google_requests.Request())
    return google_requests.AuthorizedSession(credentials)


class _Checks:
    def __init__(self, request: Request, session: requests.Session, endpoints: Endpoints) -> None:
        self._request, self._session, self._at = request, session, endpoints
        self._project, self._region = request.target.project, request.target.region
        self._machines = request.target.machines
        self._project_address = f"{self._at.resource_manager}/v1/projects/{self._project}"
        self._dataflow = "--runner=DataflowRunner" in request.beam_args

    def apis(self) -> Iterator[Finding]:
        wanted = (*_APIS, "dataflow") if self._dataflow else _APIS
        services = f"projects/{self._project}/services"
        names = "&".join(f"names={services}/{api}.googleapis.com" for api in wanted)
        answer = self._get(f"{self._at.service_usage}/v1/{services}:batchGet?{names}")
        if answer.status_code != 200:
            yield Finding(
                what=f"project {self._project} cannot be looked at: {reason(answer)}",
                fix=f"gcloud projects describe {self._project}",
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
                fix=f"gcloud services enable {' '.join(missing)} --project={self._project}",
            )

    def region(self) -> Iterator[Finding]:
        answer = self._get(f"{self._at.vertex}/v1/projects/{self._project}/locations")
        if answer.status_code != 200:
            yield Finding(
                what=f"the regions of Vertex AI cannot be listed: {reason(answer)}",
                fix="gcloud ai locations list, or look at "
                "https://cloud.google.com/vertex-ai/docs/general/locations",
                blocks=False,
            )
            return
        regions = sorted(row["locationId"] for row in answer.json().get("locations", []))
        if self._region not in regions:
            near = [name for name in regions if name[:2] == self._region[:2]] or regions
            yield Finding(
                what=f"Vertex AI is not in a region {self._region!r}",
                fix=f"give --region, one of {', '.join(near)}",
            )

    def bucket(self) -> Iterator[Finding]:
        bucket = self._request.pipeline_root.removeprefix("gs://").partition("/")[0]
        address = f"{self._at.storage}/storage/v1/b/{bucket}"
        answer = self._get(address)
        if answer.status_code == 404:
            yield Finding(
                what=f"there is no bucket gs://{bucket}",
                fix=f"gcloud storage buckets create gs://{bucket} --location={self._region} "
                f"--project={self._project}",
            )
            return
        if answer.status_code != 200:
            yield Finding(
                what=f"gs://{bucket} cannot be looked at: {reason(answer)}",
                fix=f"gcloud storage buckets describe gs://{bucket}",
            )
            return
        location = answer.json()["location"].lower()
        if not self._region.startswith(_region_prefix(location)):
            yield Finding(
                what=f"gs://{bucket} is in {location}, the job runs in {self._region}",
                fix=f"give a bucket in {self._region}, or --region={location}",
            )
        wanted = "&".join(f"permissions={name}" for name in _BUCKET_PERMISSIONS)
        granted = self._get(f"{address}/iam/testPermissions?{wanted}").json().get("permissions", [])
        if missing := sorted({*_BUCKET_PERMISSIONS} - {*granted}):
            yield Finding(
                what=f"on gs://{bucket} you lack {', '.join(missing)}",
                fix=_grant("storage buckets", f"gs://{bucket}", "roles/storage.objectAdmin"),
            )

    def image(self) -> Iterator[Finding]:
        return check_image(self._request.target.image, self._session, self._at)

    def accelerators(self) -> Iterator[Finding]:
        return check_accelerators(self._request, self._session, self._at)

    def permissions(self) -> Iterator[Finding]:
        wanted = _PERMISSIONS | (_DATAFLOW_PERMISSIONS if self._dataflow else {})
        asked = {"permissions": list(wanted)}
        answer = self._post(f"{self._project_address}:testIamPermissions", asked)
        granted = answer.json().get("permissions", []) if answer.status_code == 200 else []
        for role in sorted({role for name, role in wanted.items() if name not in granted}):
            yield Finding(
                what=f"in project {self._project} you lack what {role} grants",
                fix=_grant("projects", self._project, role),
            )

    def service_account(self) -> Iterator[Finding]:
        account = self._machines.service_account
        if not account:
            return
        address = f"{self._at.iam}/v1/projects/-/serviceAccounts/{account}"
        asked = {"permissions": ["iam.serviceAccounts.actAs"]}
        answer = self._post(f"{address}:testIamPermissions", asked)
        if answer.status_code == 404:
            name, _, rest = account.partition("@")
            yield Finding(
                what=f"there is no service account {account}",
                fix=f"gcloud iam service-accounts create {name} --project={rest.partition('.')[0]}",
            )
        elif answer.status_code != 200 or not answer.json().get("permissions"):
            yield Finding(
                what=f"you may not start jobs as {account}: {reason(answer)}",
                fix=_grant("iam service-accounts", account, "roles/iam.serviceAccountUser")
                + f" --project={self._project}",
            )

    def service_account_roles(self) -> Iterator[Finding]:
        """What the jobs need to do their work, as far as the project's own policy says it."""
        account = self._machines.service_account or self._default_account()
        answer = self._post(f"{self._project_address}:getIamPolicy", {})
        if answer.status_code != 200 or not account:
            yield Finding(
                what=f"the roles of the jobs' service account cannot be read: {reason(answer)}",
                fix=f"gcloud projects get-iam-policy {self._project}",
                blocks=False,
            )
            return
        member = f"serviceAccount:{account}"
        held = {
            binding["role"]
            for binding in answer.json().get("bindings", [])
            if member in binding.get("members", [])
        }
        wanted = _ACCOUNT_ROLES | (_DATAFLOW_ACCOUNT_ROLES if self._dataflow else {})
        for role, wider in wanted.items():
            if not held & {role, wider, *_WIDEST_ROLES}:
                yield Finding(
                    what=f"the jobs' service account {account} lacks {role} in project "
                    f"{self._project}",
                    fix=_grant("projects", self._project, role, member=member),
                )

    def _default_account(self) -> str:
        """Compute Engine's, which Vertex AI takes where none is named; "" if not found out."""
        answer = self._get(self._project_address)
        number = answer.json().get("projectNumber") if answer.status_code == 200 else None
        return f"{number}-compute@developer.gserviceaccount.com" if number else ""

    def _get(self, address: str) -> requests.Response:
        return self._session.get(address, timeout=TIMEOUT_S)

    def _post(self, address: str, content: dict[str, Any]) -> requests.Response:
        return self._session.post(address, json=content, timeout=TIMEOUT_S)


def _grant(kind: str, name: str, role: str, *, member: str = _YOU) -> str:
    """The command that grants a role on a thing of Google Cloud's."""
    return f"gcloud {kind} add-iam-policy-binding {name} --member={member} --role={role}"


def _region_prefix(location: str) -> str:
    """What the names of the regions inside a bucket's location begin with."""
    return {"eu": "europe-", "us": "us-", "asia": "asia-"}.get(location, location)
