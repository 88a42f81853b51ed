"""What Google asks before it starts a job: the service, the right, the account, the image."""

from typing import Any

from tests.cloud.project import registry
from tests.cloud.project.google import repository
from tests.cloud.project.permissions import Refused, act_as, admit, demand, held
from tests.cloud.project.state import Project

_VERTEX, _DATAFLOW = "aiplatform.googleapis.com", "dataflow.googleapis.com"
_PULL = "artifactregistry.repositories.downloadArtifacts"
_WORKERS = "dataflow.workItems.lease"


def admit_pipeline_job(
    project: Project, member: str, *, account: str, root: str, quota_project: str = ""
) -> None:
    """Raises `Refused` unless somebody may start a pipeline job.

    Args:
      project: in which.
      member: who starts it.
      account: email of the service account that its steps run as.
      root: gs:// address of its outputs.
      quota_project: see `permissions.admit`.
    """
    content = admit(project, member, _VERTEX, quota_project=quota_project)
    demand(content, member, "aiplatform.pipelineJobs.create", "project")
    act_as(content, member, account, by="vertex")
    bucket = root.removeprefix("gs://").partition("/")[0]
    allowed = held(content, f"serviceAccount:{account}", f"bucket/{bucket}")
    wanted = [f"storage.objects.{verb}" for verb in ("get", "create")]
    if not {*wanted} <= allowed:
        message = (
            f"Failed to create pipeline job. Error: Service account `{account}` does not have "
            f'`[{", ".join(wanted)}]` IAM permission(s) to the bucket "{bucket}". Please either '
            "copy the files to the Google Cloud Storage bucket owned by your project, or grant "
            "the required IAM permission(s) to the service account."
        )
        raise Refused(400, "FAILED_PRECONDITION", message)


def admit_custom_job(
    project: Project, member: str, *, account: str, images: list[str], quota_project: str = ""
) -> None:
    """Raises `Refused` unless somebody may start a custom job as an account, of some images."""
    content = admit(project, member, _VERTEX, quota_project=quota_project)
    demand(content, member, "aiplatform.customJobs.create", "project")
    act_as(content, member, account, by="vertex")
    # The service's own agent takes the image; what counts is that it is there.
    for image in images:
        if _pushed(content, image) is None:
            raise Refused(400, "INVALID_ARGUMENT", f"Image {image} could not be found.")


def admit_dataflow_job(
    project: Project, member: str, *, account: str, quota_project: str = ""
) -> None:
    """Raises `Refused` unless somebody may start a Dataflow job whose workers run as an account."""
    content = admit(project, member, _DATAFLOW, quota_project=quota_project)
    admit(project, member, "compute.googleapis.com", quota_project=quota_project)
    demand(content, member, "dataflow.jobs.create", "project")
    act_as(content, member, account, by="dataflow")


def why_workers_fail(project: Project, *, account: str, image: str) -> str:
    """What keeps a Dataflow job's workers from working; "" if nothing does."""
    content, member = project.read(), f"serviceAccount:{account}"
    if _WORKERS not in held(content, member, "project"):
        return f"{account} lacks {_WORKERS} (roles/dataflow.worker)"
    if _pushed(content, image) is None:
        return f"Error syncing pod: image {image} is not found"
    host, _, rest = image.partition("/")
    name = rest.partition("@")[0].partition(":")[0]
    if _PULL not in held(content, member, repository(content, host, name)):
        return f"Error syncing pod: {account} lacks {_PULL} for {image}"
    return ""


def _pushed(content: dict[str, Any], reference: str) -> dict[str, Any] | None:
    """An image in the registry, by its tag or by its digest."""
    name, at, digest = reference.partition("@")
    if not at:
        name, _, digest = reference.rpartition(":")
    return registry.find(content, name, digest)
