"""`docker`, as far as `make image` and docs/cloud.md use it, on a project's file.

    python -m tests.cloud.project.docker build --build-arg CODE=abc -t IMAGE .

An image is what its Dockerfile's labels say, and a copy of the folders that it copies; its commands
run as processes of this machine, with this machine's Python packages (`make test-image` proves the
image itself). Pushing needs the registry's service, its repository and the right to write there.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cloud.image.dockerfile import assignments, fill_in, instructions
from tests.cloud.project.gcloud import Gcloud, Problem
from tests.cloud.project.google import repository
from tests.cloud.project.permissions import Refused, admit, demand
from tests.cloud.project.state import Project


def image_folder(project: Project, reference: str) -> Path:
    """Where the files of an image that was built here are."""
    return project.file.parent / "images" / re.sub(r"\W", "_", reference)


def build(project: Project, arguments: list[str]) -> None:
    """Builds an image of the working folder's Dockerfile."""
    values, reference, rest = {}, "", iter(arguments)
    for word in rest:
        if word.startswith("--build-arg"):
            given = word.partition("=")[2] or next(rest)
            values[given.partition("=")[0]] = given.partition("=")[2]
        elif word in ("-t", "--tag"):
            reference = next(rest)
        elif word != ".":
            raise Problem(f"unknown flag or context: {word}")
    labels: dict[str, str] = {}
    known: dict[str, str] = {}
    folder = image_folder(project, reference)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for step in instructions(Path("Dockerfile").read_text()):
        if step.keyword == "ARG":
            name, _, default = step.value.partition("=")
            known[name] = values.get(name, default.strip("\"'"))
        elif step.keyword == "LABEL":
            labels |= assignments(fill_in(step.value, known))
        elif step.keyword == "COPY" and not step.flags and step.document is None:
            *sources, target = step.value.split()
            for source in sources:
                if Path(source).is_dir():
                    shutil.copytree(source, folder / target, dirs_exist_ok=True)
                elif not target.startswith("/"):  # The rest is for the build alone.
                    (folder / target).mkdir(exist_ok=True)
                    shutil.copy2(source, folder / target)
    if unknown := values.keys() - known.keys():
        raise Problem(f"One or more build-args {sorted(unknown)} were not consumed")
    digest = hashlib.sha256(json.dumps([labels, sorted(values.items())]).encode()).hexdigest()
    with project.change() as content:
        content["built"][reference] = {"labels": labels, "digest": f"sha256:{digest}"}


def run(project: Project, arguments: list[str]) -> int:
    """Runs a command in an image; returns its exit status."""
    rest = list(arguments)
    while rest and rest[0].startswith("--"):
        flag = rest.pop(0)
        if flag == "--user":
            rest.pop(0)
        elif flag != "--rm":
            raise Problem(f"unknown flag: {flag}")
    reference, *command = rest
    if reference not in project.read()["built"]:
        raise Problem(f"Unable to find image '{reference}' locally")
    if command and command[0].startswith("--"):
        # Beam's program, which the entry point starts, and which finds nobody to ask.
        print("Failed to obtain provisioning information: no such host", file=sys.stderr)
        return 1
    folder = image_folder(project, reference)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def push(project: Project, arguments: list[str], home: Path) -> None:
    """Pushes an image by what `gcloud auth configure-docker` set up."""
    (reference,) = arguments
    host, _, rest = reference.partition("/")
    built = project.read()["built"].get(reference)
    if built is None:
        raise Problem(f"An image does not exist locally with the tag: {reference}")
    config = home / ".docker" / "config.json"
    helpers = json.loads(config.read_text())["credHelpers"] if config.exists() else {}
    if host not in helpers:
        raise Problem(f"denied: Unauthenticated request to {host}")
    member = Gcloud(project, home).member
    content: dict[str, Any] = admit(
        project, member, "artifactregistry.googleapis.com", quota_project=project.read()["name"]
    )
    resource = repository(content, host, rest.partition(":")[0])
    demand(content, member, "artifactregistry.repositories.uploadArtifacts", resource)
    with project.change() as content:
        content["pushed"][reference] = built


def main(arguments: list[str]) -> int:
    project = Project.named_by_environment()
    try:
        match arguments:
            case ["version"]:
                print("a stand-in")
            case ["build", *rest]:
                build(project, rest)
            case ["run", *rest]:
                return run(project, rest)
            case ["push", *rest]:
                push(project, rest, Path.home())
            case _:
                raise Problem(f"{' '.join(arguments)!r} is not a docker command")
    except (Problem, Refused) as error:
        print(f"docker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
