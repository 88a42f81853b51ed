"""Every service and role of docs/cloud.md is needed; what lacks is named with its command.

The document's own commands make the project, all but one of them; then the check before a
submission looks at it, and Google's services are asked for what a run asks them for.
"""

import shlex

import pytest

from pipelines.vertex import preflight as vertex_preflight
from tests.cloud.project import google
from tests.cloud.project.cloud import ACCOUNT, CALLS, IMAGE, OWNER, SOMEBODY, Cloud
from tests.cloud.project.gcloud import Problem
from tests.cloud.project.permissions import Refused

(ENABLE,) = (call for call in CALLS if call[:2] == ["services", "enable"])
GRANTS = [call for call in CALLS if "add-iam-policy-binding" in call]
ROLE_OF_YOU = [call for call in GRANTS if f"--member=user:{SOMEBODY}" in call]
ROLE_OF_ACCOUNT = [call for call in GRANTS if call not in ROLE_OF_YOU]


def label(call):
    flags = [word.partition("=")[2] for word in call if word.startswith("--")]
    return f"{call[0]} {' '.join(flags)}"


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    # Nothing is traced here; `test_fit.py` has this check.
    monkeypatch.setattr(vertex_preflight, "check_fit", lambda request: iter(()))
    return Cloud(tmp_path, monkeypatch)


def without(left_out):
    return [call for call in CALLS if call != left_out]


def test_with_all_of_them_nothing_is_missing(cloud):
    assert cloud.set_up(CALLS) == []
    assert cloud.findings(OWNER) == []
    assert cloud.refused_to_account() == []
    # Who only submits may not read policies; that does not block.
    (found,) = cloud.findings(SOMEBODY)
    assert not found.blocks


def test_the_document_grants_each_role_by_a_command_of_its_own():
    assert len({label(call) for call in GRANTS}) == len(GRANTS) == 14


@pytest.mark.parametrize("service", ENABLE[2:])
def test_a_service_that_is_left_out(service, cloud):
    rest = [word for word in ENABLE if word != service]
    refusals = cloud.set_up([rest if call == ENABLE else call for call in CALLS])
    assert all(service in refusal for refusal in refusals[:1])  # Others follow from the first.
    wanted = f"gcloud services enable {service} --project=my-project"
    fixes = [finding.fix for finding in cloud.findings(OWNER) if finding.blocks]
    assert wanted in fixes
    cloud.fix(wanted)
    cloud.set_up(CALLS)
    assert cloud.findings(OWNER) == []


@pytest.mark.parametrize("left_out", ROLE_OF_YOU, ids=label)
def test_a_role_of_yours_that_is_left_out(left_out, cloud):
    assert cloud.set_up(without(left_out)) == []
    # It names who needs it, so that it can be sent to an owner; flags may stand in another order.
    (found,) = (f for f in cloud.findings(SOMEBODY) if {*left_out} <= {*shlex.split(f.fix)})
    # Who may not see the bucket can submit, mostly: nobody did it wrong who has the older roles.
    assert found.blocks is not any("legacyBucketReader" in word for word in left_out)
    cloud.fix(found.fix)
    assert len(cloud.findings(SOMEBODY)) == 1


@pytest.mark.parametrize("left_out", ROLE_OF_ACCOUNT, ids=label)
def test_a_role_of_the_service_account_that_is_left_out(left_out, cloud):
    assert cloud.set_up(without(left_out)) == []
    assert cloud.refused_to_account()
    (finding,) = cloud.findings(OWNER)
    assert {*left_out} <= {*shlex.split(finding.fix)}
    cloud.fix(finding.fix)
    assert cloud.findings(OWNER) == []
    assert cloud.refused_to_account() == []


@pytest.mark.parametrize(
    ("left_out", "fix"),
    [
        (["storage", "buckets", "create"], "gcloud storage buckets create gs://my-bucket"),
        (["iam", "service-accounts", "create"], "gcloud iam service-accounts create pix2seq"),
        (["artifacts", "repositories", "create"], f"make image IMAGE={IMAGE}"),
    ],
)
def test_a_thing_that_was_not_made(left_out, fix, cloud):
    cloud.set_up([call for call in CALLS if call[:3] != left_out])
    fixes = [finding.fix for finding in cloud.findings(OWNER) if finding.blocks]
    assert any(found.startswith(fix) for found in fixes), fixes


@pytest.mark.parametrize(
    ("left_out", "gives"),
    [
        # A folder above the project, a group, a custom role: what only Google can see through.
        (ROLE_OF_YOU[0], "folder"),
        (ROLE_OF_YOU[0], "group"),
        (ROLE_OF_YOU[0], "custom role"),
    ],
)
def test_roles_that_are_not_in_the_projects_policy_count(left_out, gives, cloud):
    cloud.set_up(without(left_out))
    member = f"user:{SOMEBODY}"
    with cloud.project.change() as content:
        if gives == "folder":
            content["bindings"]["folder"] = [["roles/aiplatform.user", member]]
        elif gives == "group":
            content["groups"]["group:vision@example.com"] = [member]
            content["bindings"]["project"] += [
                ["roles/aiplatform.user", "group:vision@example.com"]
            ]
        else:
            role = "organizations/1/roles/submitters"
            names = ["create", "get", "list"]
            content["custom_roles"][role] = [
                *(f"aiplatform.pipelineJobs.{name}" for name in names),
                *("aiplatform.customJobs.cancel", "aiplatform.locations.list"),
            ]
            content["bindings"]["project"] += [[role, member]]
    assert not any(finding.blocks for finding in cloud.findings(SOMEBODY))


@pytest.mark.parametrize("gives", ["folder", "group"])
def test_an_accounts_roles_that_a_policy_does_not_show_do_not_block(gives, cloud):
    left_out = next(call for call in ROLE_OF_ACCOUNT if "--role=roles/dataflow.worker" in call)
    cloud.set_up(without(left_out))
    member = f"serviceAccount:{ACCOUNT}"
    with cloud.project.change() as content:
        if gives == "folder":
            content["bindings"]["folder"] = [["roles/dataflow.worker", member]]
        else:
            content["groups"]["group:jobs@example.com"] = [member]
            content["bindings"]["project"] += [["roles/dataflow.worker", "group:jobs@example.com"]]
    assert cloud.refused_to_account() == []
    (finding,) = cloud.findings(OWNER)
    assert not finding.blocks
    assert "not seen here" in finding.what


def test_without_a_project_to_ask_on_nobody_is_answered(cloud):
    """A person's credentials count for no project: every service would seem to be disabled."""
    cloud.set_up(CALLS)
    url = "https://cloudresourcemanager.googleapis.com/v1/projects/my-project"
    asked = {"method": "GET", "url": url, "member": f"user:{OWNER}"}
    status, body = google.answer(cloud.project, **asked)
    assert (status, body["error"]["details"][0]["reason"]) == (403, "SERVICE_DISABLED")
    status, body = google.answer(cloud.project, **asked, quota_project="my-project")
    assert (status, body["projectNumber"]) == (200, "12")


def test_what_gcloud_does_not_know_or_allow_is_an_error(cloud):
    cloud.set_up(CALLS)
    owner, somebody = cloud.gcloud(OWNER), cloud.gcloud(SOMEBODY)
    grant = ["projects", "add-iam-policy-binding", "my-project"]
    for call, said in (
        (["compute", "instances", "list"], "Invalid choice"),
        (["services", "enable", "--all"], "unrecognized arguments: --all"),
        (["services", "enable", "vertex"], "Not found"),
        ([*grant, "--member=me", "--role=roles/owner"], "Invalid member"),
        ([*grant, f"--member=user:{OWNER}", "--role=roles/aiplatfrom.user"], "not supported"),
        ([*grant, "--member=serviceAccount:x@y", "--role=roles/owner"], "does not exist"),
        (["iam", "service-accounts", "create", "pix2seq"], "ALREADY_EXISTS"),
        (["storage", "buckets", "create", "gs://my-bucket"], "409"),
    ):
        with pytest.raises(Problem, match=said):
            owner.run(call)
    with pytest.raises(Refused, match="setIamPolicy"):
        somebody.run([*grant, f"--member=user:{SOMEBODY}", "--role=roles/owner"])
