"""`terraform`, as far as docs/cloud.md uses `deploy/terraform`, on a project's file.

    python -m tests.cloud.project.terraform -chdir=deploy/terraform apply -var project=p ...

Checks the variables that are given against those that the files declare, and makes what the files
make (`tests/deploy/test_terraform.py` compares them): what `pipelines/vertex/access.json` lists.
"""

import json
import re
import sys
from pathlib import Path

from tests.cloud.project.gcloud import Problem
from tests.cloud.project.state import Project

_VARIABLE = re.compile(r'^variable "(\w+)" \{(.*?)^\}', re.MULTILINE | re.DOTALL)


def apply(project: Project, folder: Path, values: dict[str, str]) -> None:
    """Makes what is not there yet."""
    declared = dict(_VARIABLE.findall((folder / "variables.tf").read_text()))
    needed = {name for name, body in declared.items() if "default" not in body}
    if not needed <= values.keys() <= declared.keys():
        raise Problem(f"variables given: {sorted(values)}, declared: {sorted(declared)}")
    access = json.loads((folder / "../../pipelines/vertex/access.json").read_text())
    email = f"pix2seq@{values['project']}.iam.gserviceaccount.com"
    with project.change() as content:
        if values["project"] != content["name"]:
            raise Problem(f"there is no project {values['project']}")
        services = {*access["services"], *access["dataflow_services"]}
        content["services"] = sorted({*content["services"], *services})
        content["buckets"].setdefault(values["bucket"], values["region"])
        if email not in content["accounts"]:
            content["accounts"].append(email)
        for row in access["roles"]:
            place = {"project": "project", "account": f"account/{email}"}.get(row["on"])
            bindings = content["bindings"].setdefault(place, [])
            if row["who"] == "account" and [row["role"], f"serviceAccount:{email}"] not in bindings:
                bindings.append([row["role"], f"serviceAccount:{email}"])


def main(arguments: list[str]) -> int:
    folder, rest = Path(), list(arguments)
    if rest and rest[0].startswith("-chdir="):
        folder = Path(rest.pop(0).partition("=")[2])
    try:
        if not list(folder.glob("*.tf")):
            raise Problem(f"Terraform initialized in an empty directory: {folder.absolute()}")
        match rest:
            case ["init"]:
                return 0
            case ["apply", *flags] if set(flags[::2]) == {"-var"}:
                values = dict(value.split("=", 1) for value in flags[1::2])
                apply(Project.named_by_environment(), folder, values)
            case _:
                raise Problem(f"not known here: {rest}")
    except Problem as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
