"""Terraform's files: they parse, and make what docs/cloud.md and the check before a run ask for."""

import re
from pathlib import Path

import hcl2
import pytest

from pipelines.vertex import access

_FOLDER = Path(__file__).parents[2] / "deploy/terraform"
_FILES = sorted(_FOLDER.glob("*.tf"))


def parsed(path):
    with path.open() as file:
        return hcl2.load(file)


@pytest.fixture(scope="module")
def blocks():
    """All blocks by kind, as lists."""
    found = {}
    for path in _FILES:
        for kind, rows in parsed(path).items():
            found.setdefault(kind, []).extend(rows)
    return found


def resources(blocks):
    return {
        f"{kind.strip(chr(34))}.{name.strip(chr(34))}": body
        for row in blocks["resource"]
        for kind, of_kind in row.items()
        for name, body in of_kind.items()
    }


def test_every_name_that_is_used_is_declared(blocks):
    text = "\n".join(path.read_text() for path in _FILES)
    declared = {name.strip('"') for row in blocks["variable"] for name in row}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared
    made = resources(blocks)
    used = {
        f"{kind}.{name}" for kind, name in re.findall(r"(?<!data\.)\b(google_\w+)\.(\w+)\b", text)
    }
    assert used <= made.keys()


def test_roles_and_services_are_those_of_the_list(blocks):
    text = (_FOLDER / "main.tf").read_text()
    assert "pipelines/vertex/access.json" in text
    # Each pair of who and on what is granted by a resource of its own.
    granted = set(re.findall(r'local\.roles\["(\w+/\w+)"\]', text))
    for who in ("you", "account"):
        for on in ("project", "bucket", "account"):
            needed = bool(access.roles(who=who, on=on, dataflow=True))
            assert (f"{who}/{on}" in granted) == needed
    (listed,) = re.findall(r"for place in \[(.*?)\]", text)
    assert set(re.findall(r'"(\w+/\w+)"', listed)) == granted


def test_the_bucket_deletes_what_nobody_needs(blocks):
    bucket = resources(blocks)["google_storage_bucket.runs"]
    assert bucket["soft_delete_policy"][0]["retention_duration_seconds"] == 0
    text = (_FOLDER / "main.tf").read_text()
    # Where the pipeline puts them: docs/cloud.md names the same folders to delete by hand.
    for folder in ("beam_temp", "training"):
        assert f"/{folder}/" in text
        assert folder in (_FOLDER.parents[1] / "docs/cloud.md").read_text()


def test_a_budget_has_alerts(blocks):
    budget = resources(blocks)["google_billing_budget.alert"]
    assert budget["count"]
    assert "amount" in budget
