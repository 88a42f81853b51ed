"""Who may do what in a project: roles as Google defines them, groups, inheritance, custom roles.

Of each role the permissions that this project's work asks for; storage.objectAdmin, for one, has no
`storage.buckets.get` (https://cloud.google.com/iam/docs/roles-permissions).
"""

from typing import Any

from tests.cloud.project.state import Project

_JOBS = tuple(
    f"aiplatform.{kind}.{verb}"
    for kind in ("pipelineJobs", "customJobs", "schedules", "models", "endpoints")
    for verb in ("create", "get", "list", "cancel", "delete", "update")
)
_OBJECTS = tuple(
    f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list", "update")
)
_ACCOUNT_USER = ("iam.serviceAccounts.actAs", "iam.serviceAccounts.get")
_CONSUMER = tuple(f"serviceusage.{name}" for name in ("quotas.get", "services.get", "services.use"))
_DATAFLOW = tuple(f"dataflow.jobs.{verb}" for verb in ("create", "get", "list", "cancel"))
_PULL = "artifactregistry.repositories.downloadArtifacts"
_PUSH = "artifactregistry.repositories.uploadArtifacts"
_SEE_PROJECT = "resourcemanager.projects.get"
# What only owners have of this: to enable services, make things, and grant.
_OWNERS = (
    *("serviceusage.services.enable", "storage.buckets.create", "storage.buckets.getIamPolicy"),
    *("storage.buckets.setIamPolicy", "artifactregistry.repositories.create"),
    *("artifactregistry.repositories.delete", "artifactregistry.repositories.setIamPolicy"),
    *("iam.serviceAccounts.create", "iam.serviceAccounts.getIamPolicy"),
    *("iam.serviceAccounts.setIamPolicy", "resourcemanager.projects.getIamPolicy"),
    "resourcemanager.projects.setIamPolicy",
)

ROLES = {
    "roles/aiplatform.user": (*_JOBS, "aiplatform.locations.list", _SEE_PROJECT),
    "roles/artifactregistry.reader": (_PULL,),
    "roles/artifactregistry.writer": (_PULL, _PUSH),
    "roles/dataflow.developer": (*_DATAFLOW, _SEE_PROJECT),
    "roles/dataflow.worker": ("dataflow.workItems.lease", "dataflow.jobs.get"),
    "roles/iam.serviceAccountUser": (*_ACCOUNT_USER, _SEE_PROJECT),
    "roles/serviceusage.serviceUsageConsumer": _CONSUMER,
    "roles/storage.legacyBucketReader": ("storage.buckets.get", "storage.objects.list"),
    "roles/storage.objectAdmin": _OBJECTS,
    "roles/storage.objectViewer": ("storage.objects.get", "storage.objects.list"),
}
ROLES["roles/owner"] = tuple({*sum(ROLES.values(), ()), *_OWNERS} - {"dataflow.workItems.lease"})
# An editor may do much, but grants nothing.
ROLES["roles/editor"] = tuple(
    name for name in ROLES["roles/owner"] if not name.endswith("setIamPolicy")
)


def held(content: dict[str, Any], member: str, resource: str) -> set[str]:
    """The permissions of a member, such as "user:me@example.com", on a resource and all above."""
    granted = set()
    for place in {"folder", "project", resource}:
        for role, to in content["bindings"].get(place, []):
            if to == member or member in content["groups"].get(to, []):
                granted.update(ROLES.get(role) or content["custom_roles"][role])
    return granted


class Refused(Exception):  # noqa: N818 - an answer
    """What Google answers instead.

    Attributes:
      code, status: of HTTP and of gRPC.
      message: in Google's words.
      details: as in the error's body.
    """

    def __init__(self, code: int, status: str, message: str, *details: dict[str, Any]) -> None:
        super().__init__(message)
        self.code, self.status, self.message, self.details = code, status, message, details

    @property
    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        error = {"code": self.code, "message": self.message, "status": self.status}
        return {"error": {**error, **({"details": [*self.details]} if self.details else {})}}


def _info(reason: str, service: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": service, "consumer": f"projects/{content['number']}"},
    }


def admit(
    project: Project, member: str, service: str, *, quota_project: str = ""
) -> dict[str, Any]:
    """Lets somebody ask a service at all; returns the project's content.

    Args:
      project: whose service it is.
      member: who asks; "" is nobody.
      service: such as aiplatform.googleapis.com.
      quota_project: on whose account, as the header `x-goog-user-project` says.

    Raises:
      Refused: without credentials, on the account of a project that may not be used, or the service
        is not enabled.
    """
    content = project.read()
    if not member:
        raise Refused(401, "UNAUTHENTICATED", "Request is missing required authentication.")
    # Without a project of their own, a person's credentials count for Google's own one, in which
    # next to nothing is enabled.
    is_person = member.startswith("user:")
    if is_person and service != "storage.googleapis.com" and not quota_project:
        message = (
            f"Your application is authenticating by using local Application Default Credentials. "
            f"The {service} API requires a quota project, which is not set by default."
        )
        raise Refused(
            403, "PERMISSION_DENIED", message, _info("SERVICE_DISABLED", service, content)
        )
    if quota_project and "serviceusage.services.use" not in held(content, member, "project"):
        message = (
            "Caller does not have required permission to use project "
            f"{quota_project}. Grant the caller the roles/serviceusage.serviceUsageConsumer role, "
            "or a custom role with the serviceusage.services.use permission, by visiting "
            "https://console.developers.google.com/iam-admin/iam/project?project="
            f"{quota_project} and then retry. Propagation of the new permission may take a few "
            "minutes."
        )
        detail = _info("USER_PROJECT_DENIED", service, content)
        raise Refused(403, "PERMISSION_DENIED", message, detail)
    if service not in content["services"]:
        message = (
            f"{service} has not been used in project {content['number']} before or it is disabled. "
            "Enable it by visiting https://console.developers.google.com/apis/api/"
            f"{service}/overview?project={content['number']} then retry."
        )
        raise Refused(
            403, "PERMISSION_DENIED", message, _info("SERVICE_DISABLED", service, content)
        )
    return content


def demand(content: dict[str, Any], member: str, permission: str, resource: str) -> None:
    """Raises `Refused` unless somebody has a permission on a resource."""
    if permission in held(content, member, resource):
        return
    who = member.partition(":")[2]
    if permission.startswith("storage."):
        what = "Google Cloud Storage " + ("bucket" if ".buckets." in permission else "object")
        message = (
            f"{who} does not have {permission} access to the {what}. Permission '{permission}' "
            "denied on resource (or it may not exist)."
        )
    else:
        message = (
            f"Permission '{permission}' denied on resource '{resource}' (or it may not exist)."
        )
    raise Refused(403, "PERMISSION_DENIED", message)


def act_as(content: dict[str, Any], member: str, account: str, *, by: str) -> None:
    """Raises `Refused` unless somebody may start jobs as a service account.

    Args:
      content: of the project.
      member: who starts the job.
      account: email of the account; "" is Compute Engine's.
      by: "vertex" or "dataflow", whose words differ.
    """
    account = account or f"{content['number']}-compute@developer.gserviceaccount.com"
    there = account in content["accounts"]
    if there and "iam.serviceAccounts.actAs" in held(content, member, f"account/{account}"):
        return
    if by == "dataflow":
        message = f"Current user cannot act as service account {account}."
        raise Refused(403, "PERMISSION_DENIED", message)
    message = (
        f"You do not have permission to act as service_account: {account}. (or it may not exist)."
    )
    raise Refused(400, "INVALID_ARGUMENT", message)
