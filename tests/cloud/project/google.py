"""Google's REST interfaces, as far as this project asks them, answered from a project's state."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import requests
from requests.adapters import BaseAdapter

from tests.cloud.project import registry
from tests.cloud.project.permissions import Refused, admit, demand, held
from tests.cloud.project.state import Project

Answer = tuple[int, dict[str, Any]]
_REGISTRY = ".pkg.dev"
STORAGE = "storage.googleapis.com"


def answer(
    project: Project,
    method: str,
    url: str,
    *,
    member: str,
    quota_project: str = "",
    body: Mapping[str, Any] | None = None,
) -> Answer | None:
    """Answers a request; None if none of the routes here takes it.

    Args:
      project: which the answers tell of.
      method: of HTTP.
      url: with host and query.
      member: who asks, by the credentials: "user:me@example.com".
      quota_project: see `permissions.admit`.
      body: of the request.
    """
    parts = urlsplit(url)
    host, query = parts.hostname or "", parse_qs(parts.query)
    service = "artifactregistry.googleapis.com" if host.endswith(_REGISTRY) else host
    for wanted_method, pattern, route in _ROUTES.get(service, ()):
        found = re.fullmatch(pattern, parts.path)
        if found and method == wanted_method:
            try:
                content = admit(project, member, service, quota_project=quota_project)
                names = {name: unquote(value) for name, value in found.groupdict().items()}
                return route(content, member, query=query, body=body or {}, host=host, **names)
            except Refused as refused:
                return refused.code, refused.body
    return None


def _services(content: dict, member: str, *, query: dict, **_: Any) -> Answer:
    demand(content, member, "serviceusage.services.get", "project")
    rows = [
        {
            "name": name,
            "config": {"name": name.rsplit("/", 1)[-1]},
            "state": "ENABLED" if name.rsplit("/", 1)[-1] in content["services"] else "DISABLED",
        }
        for name in query["names"]
    ]
    return 200, {"services": rows}


def _quota(content: dict, member: str, *, metric: str, **_: Any) -> Answer:
    demand(content, member, "serviceusage.quotas.get", "project")
    limits = content["quotas"].get(metric)
    buckets = (
        [{"effectiveLimit": "-1"}]
        if limits is None
        else [{"effectiveLimit": str(n), "dimensions": {"region": r}} for r, n in limits.items()]
    )
    return 200, {"consumerQuotaLimits": [{"quotaBuckets": buckets}]}


def _on_project(content: dict, member: str, *, body: dict, **_: Any) -> Answer:
    return 200, _granted(content, member, "project", body["permissions"])


def _policy_of_project(content: dict, member: str, **_: Any) -> Answer:
    demand(content, member, "resourcemanager.projects.getIamPolicy", "project")
    # Of the project alone: what a folder grants is not in it.
    return 200, _policy(content, "project")


def _project(content: dict, member: str, **_: Any) -> Answer:
    demand(content, member, "resourcemanager.projects.get", "project")
    return 200, {"projectNumber": content["number"], "projectId": content["name"]}


def _on_account(content: dict, member: str, *, email: str, body: dict, **_: Any) -> Answer:
    _there(content["accounts"], email, f"Unknown service account {email}")
    return 200, _granted(content, member, f"account/{email}", body["permissions"])


def _policy_of_account(content: dict, member: str, *, email: str, **_: Any) -> Answer:
    _there(content["accounts"], email, f"Unknown service account {email}")
    demand(content, member, "iam.serviceAccounts.getIamPolicy", f"account/{email}")
    return 200, _policy(content, f"account/{email}")


def _bucket(content: dict, member: str, *, bucket: str, **_: Any) -> Answer:
    _there(content["buckets"], bucket, "The specified bucket does not exist.")
    demand(content, member, "storage.buckets.get", f"bucket/{bucket}")
    location = content["buckets"][bucket]
    number = content["number"]
    return 200, {"name": bucket, "location": location.upper(), "projectNumber": number}


def _on_bucket(content: dict, member: str, *, bucket: str, query: dict, **_: Any) -> Answer:
    _there(content["buckets"], bucket, "The specified bucket does not exist.")
    return 200, _granted(content, member, f"bucket/{bucket}", query["permissions"])


def _policy_of_bucket(content: dict, member: str, *, bucket: str, **_: Any) -> Answer:
    _there(content["buckets"], bucket, "The specified bucket does not exist.")
    demand(content, member, "storage.buckets.getIamPolicy", f"bucket/{bucket}")
    return 200, _policy(content, f"bucket/{bucket}")


def _locations(content: dict, member: str, **_: Any) -> Answer:
    demand(content, member, "aiplatform.locations.list", "project")
    return 200, {"locations": [{"locationId": name} for name in content["regions"]]}


def _manifest(content: dict, member: str, *, host: str, name: str, tag: str, **_: Any) -> Answer:
    _may_pull(content, member, host, name)
    found = _image(content, host, name, tag)
    return 200, registry.manifest(found)


def _image_config(
    content: dict, member: str, *, host: str, name: str, digest: str, **_: Any
) -> Answer:
    _may_pull(content, member, host, name)
    for found in content["pushed"].values():
        if digest == registry.config_digest(found):
            return 200, {"config": {"Labels": found["labels"]}}
    raise Refused(404, "NOT_FOUND", "blob unknown")


def _may_pull(content: dict, member: str, host: str, name: str) -> None:
    resource = repository(content, host, name)
    demand(content, member, "artifactregistry.repositories.downloadArtifacts", resource)


def repository(content: dict[str, Any], host: str, name: str) -> str:
    """The resource that holds an image, such as "repository/europe-west4/pix2seq".

    Raises:
      Refused: there is no such repository in the project.
    """
    place = f"{host.partition('-docker')[0]}/{name.split('/')[1]}"
    if name.split("/")[0] != content["name"] or place not in content["repositories"]:
        raise Refused(404, "NOT_FOUND", f'Repository "{name.split("/")[1]}" not found')
    return f"repository/{place}"


def _image(content: dict, host: str, name: str, tag: str) -> dict[str, Any]:
    found = registry.find(content, f"{host}/{name}", tag)
    if found is None:
        raise Refused(404, "NOT_FOUND", f"Failed to fetch {tag!r}")
    return found


def _there(things: Any, name: str, message: str) -> None:
    if name not in things:
        raise Refused(404, "NOT_FOUND", message)


def _granted(content: dict, member: str, resource: str, asked: list[str]) -> dict[str, Any]:
    permissions = [name for name in asked if name in held(content, member, resource)]
    return {"permissions": permissions} if permissions else {}


def _policy(content: dict[str, Any], resource: str) -> dict[str, Any]:
    roles: dict[str, list[str]] = {}
    for role, member in content["bindings"].get(resource, []):
        roles.setdefault(role, []).append(member)
    return {"bindings": [{"role": role, "members": members} for role, members in roles.items()]}


_ACCOUNTS = r"/v1/projects/[^/]+/serviceAccounts/(?P<email>[^/:]+)"
_ROUTES: dict[str, tuple[tuple[str, str, Callable[..., Answer]], ...]] = {
    "serviceusage.googleapis.com": (
        ("GET", r"/v1/projects/[^/]+/services:batchGet", _services),
        (
            "GET",
            r"/v1beta1/projects/[^/]+/services/[^/]+/consumerQuotaMetrics/(?P<metric>.+)",
            _quota,
        ),
    ),
    "cloudresourcemanager.googleapis.com": (
        ("POST", r"/v1/projects/[^/]+:testIamPermissions", _on_project),
        ("POST", r"/v1/projects/[^/]+:getIamPolicy", _policy_of_project),
        ("GET", r"/v1/projects/[^/]+", _project),
    ),
    "iam.googleapis.com": (
        ("POST", rf"{_ACCOUNTS}:testIamPermissions", _on_account),
        ("POST", rf"{_ACCOUNTS}:getIamPolicy", _policy_of_account),
    ),
    STORAGE: (
        ("GET", r"/storage/v1/b/(?P<bucket>[^/]+)/iam/testPermissions", _on_bucket),
        ("GET", r"/storage/v1/b/(?P<bucket>[^/]+)/iam", _policy_of_bucket),
        ("GET", r"/storage/v1/b/(?P<bucket>[^/]+)", _bucket),
    ),
    "aiplatform.googleapis.com": (("GET", r"/v1/projects/[^/]+/locations", _locations),),
    "artifactregistry.googleapis.com": (
        ("GET", r"/v2/(?P<name>.+)/manifests/(?P<tag>[^/]+)", _manifest),
        ("GET", r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)", _image_config),
    ),
}


class _Adapter(BaseAdapter):
    def __init__(self, project: Project, member: str, quota_project: str) -> None:
        super().__init__()
        self._project, self._who = project, {"member": member, "quota_project": quota_project}

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        body = json.loads(request.body) if request.body else None
        found = answer(self._project, request.method, request.url, body=body, **self._who)
        if found is None:
            raise AssertionError(f"nothing here answers {request.method} {request.url}")
        response = requests.Response()
        response.status_code, content = found
        response._content = json.dumps(content).encode()
        response.url, response.request = request.url, request
        return response

    def close(self) -> None:
        pass


def session(project: Project, member: str) -> requests.Session:
    """What a person's credentials reach: Google's addresses, answered from the project."""
    session = requests.Session()
    session.mount("https://", _Adapter(project, member, project.read()["name"]))
    return session
