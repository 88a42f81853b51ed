"""What is missing before a job can run on Google Cloud, each with the command that fixes it.

Asks Google's REST interfaces with the user's own credentials; changes nothing.
"""

import functools
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport import requests as google_requests

from pipelines.request import Request
from pipelines.vertex import access
from pipelines.vertex.findings import (
    TIMEOUT_S,
    Endpoints,
    Finding,
    ProjectDenied,
    ServiceDisabled,
    enabled,
    reason,
)
from pipelines.vertex.fit import check_fit
from pipelines.vertex.image import check_image
from pipelines.vertex.quota import check_accelerators

_WIDEST_ROLES = {"roles/owner", "roles/editor"}
_YOU = '"user:$(gcloud config get account)"'  # Where it cannot be found out here.
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
            session = authorized_session(request.target.project)
        except GoogleAuthError as error:
            what = f"no credentials for Google Cloud ({type(error).__name__})"
            return [Finding(what=what, fix="gcloud auth application-default login")]
    check = _Checks(request, session, endpoints or Endpoints())
    steps: tuple[Callable[[], Iterator[Finding]], ...] = (
        *(check.fit, check.apis, check.region, check.bucket, check.image, check.accelerators),
        *(check.permissions, check.service_account, check.service_account_roles),
    )
    findings: list[Finding] = []
    for step in steps:
        try:
            findings += step()
        except ServiceDisabled as error:
            finding = Finding(
                what=f"service {error.service} is not enabled",
                fix=f"gcloud services enable {error.service} --project={request.target.project}",
            )
            findings += [finding] if finding not in findings else []
        except ProjectDenied:
            finding = check.project_denied()
            findings += [finding] if finding not in findings else []
        except requests.RequestException as error:
            what = f"{step.__name__.replace('_', ' ')}: no answer ({error})"
            findings.append(Finding(what=what, fix="look at the network and try again"))
    return findings


def authorized_session(project: str) -> requests.Session:
    """Asks Google's services with the user's own credentials.

    Raises:
      GoogleAuthError: there are none.
    """
    # A person's own credentials name no project on whose account Google's services are asked.
    credentials, _ = google.auth.default(scopes=[_SCOPE], quota_project_id=project)
    credentials.refresh(google_requests.Request())
    return google_requests.AuthorizedSession(credentials)


class _Checks:
    def __init__(self, request: Request, session: requests.Session, endpoints: Endpoints) -> None:
        self._request, self._session, self._at = request, session, endpoints
        self._project, self._region = request.target.project, request.target.region
        self._machines = request.target.machines
        self._project_address = f"{self._at.resource_manager}/v1/projects/{self._project}"
        self._dataflow = "--runner=DataflowRunner" in request.beam_args
        self._bucket = request.pipeline_root.removeprefix("gs://").partition("/")[0]
        self._bucket_address = f"{self._at.storage}/storage/v1/b/{self._bucket}"

    @functools.cached_property
    def _you(self) -> str:
        """Who submits, as a member: whoever grants the role may be somebody else."""
        credentials = getattr(self._session, "credentials", None)
        if email := getattr(credentials, "service_account_email", ""):
            return f"serviceAccount:{email}"
        try:
            command = ["gcloud", "config", "get", "account"]
            said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            return _YOU
        return f"user:{said.stdout.strip()}" if "@" in said.stdout else _YOU

    def project_denied(self) -> Finding:
        role = "roles/serviceusage.serviceUsageConsumer"
        return Finding(
            what=f"you may not ask Google's services on the account of project {self._project}",
            fix=_grant("projects", self._project, role, member=self._you),
        )

    def apis(self) -> Iterator[Finding]:
        services = f"projects/{self._project}/services"
        wanted = access.services(dataflow=self._dataflow)
        names = "&".join(f"names={services}/{service}" for service in wanted)
        answer = self._get(f"{self._at.service_usage}/v1/{services}:batchGet?{names}")
        if answer.status_code != 200:
            yield Finding(
                what=f"which services are enabled cannot be read: {reason(answer)}",
                fix=f"gcloud services enable {' '.join(wanted)} --project={self._project}",
                blocks=False,
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
        bucket, address = self._bucket, self._bucket_address
        role, to_see_it = access.roles(who="you", on="bucket", dataflow=self._dataflow)
        wanted = "&".join(f"permissions={name}" for name in role.permissions)
        answer = self._get(f"{address}/iam/testPermissions?{wanted}")
        if answer.status_code == 404:
            yield Finding(
                what=f"there is no bucket gs://{bucket}",
                fix=f"gcloud storage buckets create gs://{bucket} --location={self._region} "
                f"--project={self._project}",
            )
            return
        if answer.status_code != 200:
            yield Finding(
                what=f"what you may do on gs://{bucket} cannot be read: {reason(answer)}",
                fix=_grant("storage buckets", f"gs://{bucket}", role.role, member=self._you),
                blocks=False,
            )
        elif missing := sorted({*role.permissions} - {*answer.json().get("permissions", [])}):
            yield Finding(
                what=f"on gs://{bucket} you lack {', '.join(missing)}",
                fix=_grant("storage buckets", f"gs://{bucket}", role.role, member=self._you),
            )
        answer = self._get(address)
        if answer.status_code != 200:  # storage.objectAdmin has no storage.buckets.get.
            yield Finding(
                what=f"where gs://{bucket} lies cannot be read: {reason(answer)}",
                fix=_grant("storage buckets", f"gs://{bucket}", to_see_it.role, member=self._you),
                blocks=False,
            )
            return
        location = answer.json()["location"].lower()
        if not self._region.startswith(_region_prefix(location)):
            yield Finding(
                what=f"gs://{bucket} is in {location}, the job runs in {self._region}",
                fix=f"give a bucket in {self._region}, or --region={location}",
            )

    def image(self) -> Iterator[Finding]:
        return check_image(self._request.target.image, self._session, self._at)

    def fit(self) -> Iterator[Finding]:
        return check_fit(self._request)

    def accelerators(self) -> Iterator[Finding]:
        return check_accelerators(self._request, self._session, self._at)

    def permissions(self) -> Iterator[Finding]:
        wanted = access.roles(who="you", on="project", dataflow=self._dataflow)
        asked = {"permissions": [name for role in wanted for name in role.permissions]}
        answer = self._post(f"{self._project_address}:testIamPermissions", asked)
        granted = answer.json().get("permissions", []) if answer.status_code == 200 else []
        for role in wanted:
            if not {*role.permissions} <= {*granted}:
                unknown = answer.status_code != 200
                why = f" (cannot be read: {reason(answer)})" if unknown else ""
                yield Finding(
                    what=f"in project {self._project} you lack what {role.role} grants{why}",
                    fix=_grant("projects", self._project, role.role, member=self._you),
                    blocks=not unknown,
                )

    def service_account(self) -> Iterator[Finding]:
        account = self._machines.service_account
        if not account:
            return
        (role,) = access.roles(who="you", on="account", dataflow=self._dataflow)
        asked = {"permissions": list(role.permissions)}
        answer = self._post(f"{self._account_address(account)}:testIamPermissions", asked)
        if answer.status_code == 404:
            name, _, rest = account.partition("@")
            yield Finding(
                what=f"there is no service account {account}",
                fix=f"gcloud iam service-accounts create {name} --project={rest.partition('.')[0]}",
            )
        elif answer.status_code != 200 or not answer.json().get("permissions"):
            yield Finding(
                what=f"you may not start jobs as {account}: {reason(answer)}",
                fix=self._grant_on_account(account, role.role, self._you),
                blocks=answer.status_code == 200,
            )

    def service_account_roles(self) -> Iterator[Finding]:
        """What the jobs need to do their work, as far as policies say it.

        A policy shows neither what a folder or an organization grants, nor the members of a group,
        nor what is in a role of the user's own: so nothing here blocks.
        """
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
        held = _roles_of(member, answer)
        unseen = "; roles from a folder, a group or a custom role are not seen here"
        for role in access.roles(who="account", on="project", dataflow=self._dataflow):
            if not held & {role.role, *role.as_good, *_WIDEST_ROLES}:
                yield Finding(
                    what=f"project {self._project} does not give the jobs' service account "
                    f"{account} {role.role}{unseen}",
                    fix=_grant("projects", self._project, role.role, member=member),
                    blocks=False,
                )
        (to_see_it,) = access.roles(who="account", on="bucket", dataflow=self._dataflow)
        policy = self._get(f"{self._bucket_address}/iam")
        wanted = {to_see_it.role, *to_see_it.as_good, *_WIDEST_ROLES}
        if not (held | _roles_of(member, policy)) & wanted:
            yield Finding(
                what=f"{account} may not be able to make folders in gs://{self._bucket} "
                f"({to_see_it.role} on it)"
                + (unseen if policy.status_code == 200 else f": cannot be read, {reason(policy)}"),
                fix=_grant(
                    "storage buckets", f"gs://{self._bucket}", to_see_it.role, member=member
                ),
                blocks=False,
            )
        (itself,) = access.roles(who="account", on="account", dataflow=self._dataflow)
        own = self._post(f"{self._account_address(account)}:getIamPolicy", {})
        if not (held | _roles_of(member, own)) & {itself.role, *_WIDEST_ROLES}:
            yield Finding(
                what=f"{account} may not be able to start jobs as itself ({itself.role} on itself)"
                + (unseen if own.status_code == 200 else f": cannot be read, {reason(own)}"),
                fix=self._grant_on_account(account, itself.role, member),
                blocks=False,
            )

    def _account_address(self, account: str) -> str:
        return f"{self._at.iam}/v1/projects/-/serviceAccounts/{account}"

    def _grant_on_account(self, account: str, role: str, member: str) -> str:
        grant = _grant("iam service-accounts", account, role, member=member)
        return f"{grant} --project={self._project}"

    def _default_account(self) -> str:
        """Compute Engine's, which Vertex AI takes where none is named; "" if not found out."""
        answer = self._get(self._project_address)
        number = answer.json().get("projectNumber") if answer.status_code == 200 else None
        return f"{number}-compute@developer.gserviceaccount.com" if number else ""

    def _get(self, address: str) -> requests.Response:
        return enabled(self._session.get(address, timeout=TIMEOUT_S))

    def _post(self, address: str, content: dict[str, Any]) -> requests.Response:
        return enabled(self._session.post(address, json=content, timeout=TIMEOUT_S))


def _roles_of(member: str, policy: requests.Response) -> set[str]:
    """The roles that a policy gives to a member directly; none if it could not be read."""
    bindings = policy.json().get("bindings", []) if policy.status_code == 200 else []
    return {row["role"] for row in bindings if member in row.get("members", [])}


def _grant(kind: str, name: str, role: str, *, member: str) -> str:
    """The command that grants a role on a thing of Google Cloud's."""
    return f"gcloud {kind} add-iam-policy-binding {name} --member={member} --role={role}"


def _region_prefix(location: str) -> str:
    """What the names of the regions inside a bucket's location begin with."""
    return {"eu": "europe-", "us": "us-", "asia": "asia-"}.get(location, location)
