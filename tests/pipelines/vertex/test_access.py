"""One list of services and roles: the document and Terraform say what the check asks for."""

import re
from pathlib import Path

from pipelines.vertex import access

_ROOT = Path(__file__).parents[3]
_WHO = {"you": "you", "account": "the service account"}
_ON = {"project": "", "bucket": ", on the bucket", "account": ", on the service account"}


def all_roles():
    return [
        role
        for who in ("you", "account")
        for on in ("project", "bucket", "account")
        for role in access.roles(who=who, on=on, dataflow=True)
    ]


def test_the_table_of_the_document():
    text = (_ROOT / "docs/cloud.md").read_text()
    table = re.findall(r"^\| (.*) \| `(roles/.*)` \| (.*) \|$", text, re.MULTILINE)
    assert sorted(table) == sorted(
        (
            "the service account, on itself"
            if (role.who, role.on) == ("account", "account")
            else _WHO[role.who] + _ON[role.on],
            role.role,
            role.reason,
        )
        for role in all_roles()
    )


def test_the_commands_of_the_document():
    text = (_ROOT / "docs/cloud.md").read_text().replace("\\\n", " ")
    (enabled,) = re.findall(r"gcloud services enable (.*)", text)
    assert sorted(enabled.split()) == sorted(access.services(dataflow=True))
    granted = re.findall(r"for role in (.*?); do", text)
    places = (("account", "project"), ("you", "project"), ("you", "bucket"))
    for (who, on), names in zip(places, granted, strict=True):
        wanted = access.roles(who=who, on=on, dataflow=True)
        assert sorted(names.split()) == sorted(r.role.removeprefix("roles/") for r in wanted)


def test_without_dataflow():
    assert "dataflow" not in str(access.services(dataflow=False))
    assert not [
        role for role in access.roles(who="account", on="project", dataflow=False) if role.dataflow
    ]
