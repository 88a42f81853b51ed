"""`gcloud`, as far as docs/cloud.md and the check before a submission use it, on a project's file.

    python -m tests.cloud.project.gcloud services enable aiplatform.googleapis.com

What it does not know, command or flag, is an error, as are things that exist already, that are not
there, or that the one who signed in may not do. `STAND_IN_WHO` is the person at the browser when
somebody signs in.
"""

import fnmatch
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.cloud.project.permissions import ROLES, Refused, admit, demand
from tests.cloud.project.state import Project

WHO = "STAND_IN_WHO"
_MEMBER = re.compile(r"(user|group|serviceAccount):[^@\s]+@[^@\s]+\Z")
_ACCOUNT_NAME = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]\Z")
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]\Z")


class Problem(Exception):  # noqa: N818 - ends the command
    """What gcloud would say."""


class Gcloud:
    """One command of somebody on this machine.

    Attributes:
      project: whose file it changes.
    """

    def __init__(self, project: Project, home: Path) -> None:
        self.project = project
        self._folder = home / ".config" / "gcloud"
        self._folder.mkdir(parents=True, exist_ok=True)

    def run(self, arguments: list[str]) -> str:
        """Carries out a command; returns what it prints.

        Raises:
          Problem, Refused: it cannot be done.
        """
        for words, (count, flags, function) in _COMMANDS.items():
            if tuple(arguments[: len(words)]) == words:
                given, named = _split(arguments[len(words) :], flags)
                if not count(len(given)):
                    raise Problem(f"gcloud {' '.join(words)}: wrong number of arguments: {given}")
                return function(self, *given, **named) or ""
        raise Problem(f"Invalid choice: {' '.join(arguments)!r}")

    # Who is signed in, and for which project.

    @property
    def member(self) -> str:
        return f"user:{self._setting('account')}"

    def login(self) -> None:
        self._set("account", os.environ[WHO])

    def application_login(self) -> None:
        who = os.environ[WHO]
        self._credentials.write_text(
            json.dumps(
                {
                    "type": "authorized_user",
                    "client_id": "of-gcloud.apps.googleusercontent.com",
                    "client_secret": "not-a-secret",
                    "refresh_token": f"user:{who}",
                    "account": "",
                    "universe_domain": "googleapis.com",
                }
            )
        )

    def set_quota_project(self, name: str) -> None:
        if not self._credentials.exists():
            raise Problem("Application default credentials have not been set up.")
        self._named(name)
        content = json.loads(self._credentials.read_text())
        # gcloud asks whether the person may use it.
        demand(self.project.read(), self.member, "serviceusage.services.use", "project")
        self._credentials.write_text(json.dumps({**content, "quota_project_id": name}))

    def configure_docker(self, hosts: str) -> None:
        file = self._folder.parents[1] / ".docker" / "config.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"credHelpers": dict.fromkeys(hosts.split(","), "gcloud")}))

    def config_set(self, name: str, value: str) -> None:
        if name not in ("project", "account"):
            raise Problem(f"Section [core] has no property [{name}].")
        self._set(name, value)

    def config_get(self, name: str) -> str:
        return self._setting(name)

    # Services, roles, accounts.

    def enable(self, *services: str, project: str = "") -> None:
        self._named(project)
        with self.project.change() as content:
            demand(content, self.member, "serviceusage.services.enable", "project")
            for name in services:
                if not name.endswith(".googleapis.com"):
                    raise Problem(f"Not found or permission denied for service(s): {name}.")
                content["services"] = sorted({*content["services"], name})

    def grant_on_project(self, name: str, *, member: str, role: str) -> None:
        self._named(name)
        self._grant("cloudresourcemanager", "project", member, role, "resourcemanager.projects")

    def grant_on_account(self, email: str, *, member: str, role: str, project: str = "") -> None:
        self._named(project)
        if email not in self.project.read()["accounts"]:
            raise Problem(f"NOT_FOUND: Unknown service account {email}")
        self._grant("iam", f"account/{email}", member, role, "iam.serviceAccounts")

    def grant_on_bucket(self, url: str, *, member: str, role: str) -> None:
        name = url.removeprefix("gs://").rstrip("/")
        if name not in self.project.read()["buckets"]:
            raise Problem(f"{url} not found: 404.")
        self._grant("storage", f"bucket/{name}", member, role, "storage.buckets")

    def _grant(self, service: str, resource: str, member: str, role: str, kind: str) -> None:
        self._asked(service)
        with self.project.change() as content:
            demand(content, self.member, f"{kind}.setIamPolicy", resource)
            if not _MEMBER.match(member):
                raise Problem(f"INVALID_ARGUMENT: Invalid member {member!r}")
            email = member.partition(":")[2]
            if member.startswith("serviceAccount:") and email not in content["accounts"]:
                raise Problem(f"INVALID_ARGUMENT: Service account {email} does not exist.")
            if role not in ROLES and role not in content["custom_roles"]:
                raise Problem(f"INVALID_ARGUMENT: Role {role} is not supported for this resource.")
            bindings = content["bindings"].setdefault(resource, [])
            if [role, member] not in bindings:
                bindings.append([role, member])

    def make_account(self, name: str, *, project: str = "") -> None:
        project = self._named(project)
        self._asked("iam")
        with self.project.change() as content:
            demand(content, self.member, "iam.serviceAccounts.create", "project")
            email = f"{name}@{project}.iam.gserviceaccount.com"
            if not _ACCOUNT_NAME.match(name):
                raise Problem(f"INVALID_ARGUMENT: {name} is no name of a service account.")
            if email in content["accounts"]:
                raise Problem(f"ALREADY_EXISTS: Service account {name} already exists")
            content["accounts"].append(email)

    # Places.

    def make_bucket(self, url: str, *, location: str = "us", project: str = "") -> None:
        self._named(project)
        self._asked("storage")
        name = url.removeprefix("gs://")
        with self.project.change() as content:
            demand(content, self.member, "storage.buckets.create", "project")
            if not _BUCKET_NAME.match(name):
                raise Problem(f"HTTPError 400: Invalid bucket name: {name!r}")
            if name in content["buckets"]:
                raise Problem("HTTPError 409: Your previous request to create it succeeded.")
            content["buckets"][name] = location
        if store := self.project.read()["store"]:
            _ask(f"{store}/storage/v1/b", json.dumps({"name": name}).encode())

    def make_repository(self, name: str, *, repository_format: str, location: str) -> None:
        self._asked("artifactregistry")
        with self.project.change() as content:
            demand(content, self.member, "artifactregistry.repositories.create", "project")
            if repository_format != "docker" or location not in content["regions"]:
                raise Problem(f"INVALID_ARGUMENT: {repository_format} in {location}")
            if f"{location}/{name}" in content["repositories"]:
                raise Problem("ALREADY_EXISTS: the repository already exists")
            content["repositories"].append(f"{location}/{name}")

    def delete_repository(self, name: str, *, location: str) -> None:
        self._asked("artifactregistry")
        with self.project.change() as content:
            demand(content, self.member, "artifactregistry.repositories.delete", "project")
            if f"{location}/{name}" not in content["repositories"]:
                raise Problem("NOT_FOUND: Requested entity was not found.")
            content["repositories"].remove(f"{location}/{name}")
            inside = f"{location}-docker.pkg.dev/{content['name']}/{name}/"
            kept = {k: v for k, v in content["pushed"].items() if not k.startswith(inside)}
            content["pushed"] = kept

    # Objects.

    def copy(self, *paths: str, recursive: bool = False) -> str:
        *sources, target = paths
        if not target.startswith("gs://"):
            raise Problem("copying from a bucket is not known here")
        bucket, _, folder = target.removeprefix("gs://").partition("/")
        self._on_objects(bucket, "storage.objects.create")
        copied = 0
        for source in map(Path, sources):
            if not source.exists():
                raise Problem(f"The following URLs matched no objects or files:\n{source}")
            if source.is_dir() and not recursive:
                raise Problem(f"Omitting {source}/ (Did you mean to do cp -r?)")
            inside = [source] if source.is_file() else [f for f in source.rglob("*") if f.is_file()]
            for file in sorted(inside):
                place = f"{folder}{file.relative_to(source.parent)}"
                address = f"upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(place)}"
                _ask(f"{self.project.read()['store']}/{address}", file.read_bytes())
                copied += 1
        return f"Copied {copied} files."

    def remove(self, *urls: str, recursive: bool = False) -> str:
        removed = 0
        for url in urls:
            bucket, _, name = url.removeprefix("gs://").partition("/")
            self._on_objects(bucket, "storage.objects.delete")
            base = f"{self.project.read()['store']}/storage/v1/b/{bucket}/o"
            inside = f"{name.rstrip('/')}/*" if recursive else name
            found = [
                other
                for other in _objects(base)
                if fnmatch.fnmatchcase(other, inside) or fnmatch.fnmatchcase(other, name)
            ]
            if not found:
                raise Problem(f"The following URLs matched no objects or files:\n{url}")
            for other in found:
                _ask(f"{base}/{quote(other, safe='')}", method="DELETE")
            removed += len(found)
        return f"Removed {removed} objects."

    def _on_objects(self, bucket: str, permission: str) -> None:
        content = self._asked("storage")
        if bucket not in content["buckets"]:
            raise Problem(f"gs://{bucket} not found: 404.")
        demand(content, self.member, permission, f"bucket/{bucket}")

    # Endpoints.

    def list_endpoints(self, *, region: str) -> str:
        return "\n".join(["ENDPOINT_ID", *self._endpoints(region, "list")])

    def undeploy(self, endpoint: str, *, deployed_model_id: str, region: str) -> None:
        self._endpoints(region, "update")
        with self.project.change() as content:
            models = content["endpoints"].get(region, {}).get(endpoint)
            if models is None or deployed_model_id not in models:
                raise Problem(f"NOT_FOUND: {deployed_model_id} on {endpoint}")
            models.remove(deployed_model_id)

    def delete_endpoint(self, endpoint: str, *, region: str) -> None:
        found = self._endpoints(region, "delete")
        if endpoint not in found:
            raise Problem(f"NOT_FOUND: {endpoint}")
        if found[endpoint]:
            raise Problem(f"FAILED_PRECONDITION: {endpoint} has deployed models")
        with self.project.change() as content:
            del content["endpoints"][region][endpoint]

    def _endpoints(self, region: str, verb: str) -> dict[str, list[str]]:
        content = self._asked("aiplatform")
        demand(content, self.member, f"aiplatform.endpoints.{verb}", "project")
        return content["endpoints"].get(region, {})

    # What all of them do.

    def _asked(self, service: str) -> dict[str, Any]:
        return admit(
            self.project,
            self.member,
            f"{service}.googleapis.com",
            # gcloud itself asks on the account of the project that it is set to.
            quota_project=self._setting("project"),
        )

    def _named(self, name: str) -> str:
        name = name or self._setting("project")
        if name != self.project.read()["name"]:
            raise Problem(f"The project {name!r} does not exist, or you may not see it.")
        return name

    @property
    def _credentials(self) -> Path:
        return self._folder / "application_default_credentials.json"

    def _setting(self, name: str) -> str:
        file = self._folder / name
        if not file.exists():
            raise Problem(f"The required property [{name}] is not currently set.")
        return file.read_text()

    def _set(self, name: str, value: str) -> None:
        (self._folder / name).write_text(value)


def _split(words: list[str], flags: dict[str, str]) -> tuple[list[str], dict[str, Any]]:
    """Positional arguments, and flags by the parameters that take them."""
    given, named = [], {}
    rest: Iterator[str] = iter(words)
    for word in rest:
        if not word.startswith("-"):
            given.append(word)
            continue
        flag, equals, value = word.partition("=")
        if flag not in flags:
            raise Problem(f"unrecognized arguments: {flag}")
        if flag == "-r":
            named[flags[flag]] = True
        else:
            named[flags[flag]] = value if equals else next(rest, "")
    return given, named


def _objects(base: str) -> Iterator[str]:
    page = ""
    while True:
        answer = json.loads(_ask(f"{base}?pageToken={page}"))
        yield from [item["name"] for item in answer.get("items", [])]
        if not (page := answer.get("nextPageToken", "")):
            return


def _ask(address: str, body: bytes | None = None, *, method: str | None = None) -> bytes:
    request = urllib.request.Request(address, data=body, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise Problem(f"HTTPError {error.code}: {address}") from error


_PROJECT = {"--project": "project"}
_BINDING = {"--member": "member", "--role": "role"}
_REGION = {"--region": "region"}
_LOCATION = {"--location": "location"}
_Row = tuple[Callable[[int], bool], dict[str, str], Callable[..., str | None]]
_COMMANDS: dict[tuple[str, ...], _Row] = {
    ("auth", "login"): ((0).__eq__, {}, Gcloud.login),
    ("auth", "application-default", "login"): ((0).__eq__, {}, Gcloud.application_login),
    ("auth", "application-default", "set-quota-project"): (
        (1).__eq__,
        {},
        Gcloud.set_quota_project,
    ),
    ("auth", "configure-docker"): ((1).__eq__, {}, Gcloud.configure_docker),
    ("config", "set"): ((2).__eq__, {}, Gcloud.config_set),
    ("config", "get"): ((1).__eq__, {}, Gcloud.config_get),
    ("services", "enable"): ((1).__le__, _PROJECT, Gcloud.enable),
    ("projects", "add-iam-policy-binding"): ((1).__eq__, _BINDING, Gcloud.grant_on_project),
    ("iam", "service-accounts", "create"): ((1).__eq__, _PROJECT, Gcloud.make_account),
    ("iam", "service-accounts", "add-iam-policy-binding"): (
        (1).__eq__,
        {**_BINDING, **_PROJECT},
        Gcloud.grant_on_account,
    ),
    ("storage", "buckets", "create"): ((1).__eq__, {**_LOCATION, **_PROJECT}, Gcloud.make_bucket),
    ("storage", "buckets", "add-iam-policy-binding"): (
        (1).__eq__,
        _BINDING,
        Gcloud.grant_on_bucket,
    ),
    ("storage", "cp"): ((2).__le__, {"-r": "recursive"}, Gcloud.copy),
    ("storage", "rm"): ((1).__le__, {"-r": "recursive"}, Gcloud.remove),
    ("artifacts", "repositories", "create"): (
        (1).__eq__,
        {"--repository-format": "repository_format", **_LOCATION},
        Gcloud.make_repository,
    ),
    ("artifacts", "repositories", "delete"): ((1).__eq__, _LOCATION, Gcloud.delete_repository),
    ("ai", "endpoints", "list"): ((0).__eq__, _REGION, Gcloud.list_endpoints),
    ("ai", "endpoints", "undeploy-model"): (
        (1).__eq__,
        {"--deployed-model-id": "deployed_model_id", **_REGION},
        Gcloud.undeploy,
    ),
    ("ai", "endpoints", "delete"): ((1).__eq__, _REGION, Gcloud.delete_endpoint),
}


def main(arguments: list[str]) -> int:
    try:
        said = Gcloud(Project.named_by_environment(), Path.home()).run(arguments)
    except (Problem, Refused) as error:
        print(f"ERROR: (gcloud) {error}", file=sys.stderr)
        return 1
    except TypeError as error:  # A flag that must be there is missing.
        print(f"ERROR: (gcloud) {error}", file=sys.stderr)
        return 2
    print(said, end="\n" if said else "")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
