"""What the checks before a submission find, and where they ask."""

import dataclasses

import requests

TIMEOUT_S = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where to ask; other addresses serve the tests."""

    vertex: str = "https://aiplatform.googleapis.com"
    service_usage: str = "https://serviceusage.googleapis.com"
    storage: str = "https://storage.googleapis.com"
    resource_manager: str = "https://cloudresourcemanager.googleapis.com"
    iam: str = "https://iam.googleapis.com"
    registry_scheme: str = "https"
    googles_registries: tuple[str, ...] = (".pkg.dev", ".gcr.io")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is missing.

    Attributes:
      what: one sentence.
      fix: the command that fixes it, or where to look.
      blocks: false if it could not be checked.
    """

    what: str
    fix: str
    blocks: bool = True


class ServiceDisabled(Exception):  # noqa: N818 - a state of the project
    """A service that was asked is not enabled in the project."""

    def __init__(self, service: str):
        super().__init__(service)
        self.service = service


class ProjectDenied(Exception):  # noqa: N818 - a state of the project
    """Who asks may not do so on the account of the project."""


def enabled(answer: requests.Response) -> requests.Response:
    """Returns the answer of a service.

    Raises:
      ServiceDisabled: it says that the service is not enabled, which looks like a lack of roles.
      ProjectDenied: no service may be asked at all.
    """
    if answer.status_code == 403:
        try:
            details = answer.json()["error"].get("details", [])
        except (ValueError, KeyError, TypeError, AttributeError):
            details = []
        for detail in details:
            if detail.get("reason") == "SERVICE_DISABLED":
                raise ServiceDisabled(detail["metadata"]["service"])
            if detail.get("reason") == "USER_PROJECT_DENIED":
                raise ProjectDenied
    return answer


def reason(answer: requests.Response) -> str:
    """Why a service refused, in its own words."""
    try:
        message = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = answer.reason
    return f"{answer.status_code} {message}"
