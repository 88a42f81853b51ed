"""Who may do what with a bucket's objects, by the addresses that the clients really ask."""

import json

import pytest

from tests.cloud.object_store.front import TOKEN
from tests.cloud.project import google
from tests.cloud.project.callers import caller, token_for
from tests.cloud.project.objects import PUBLIC, refusal
from tests.cloud.project.state import Project

READER, WRITER = "user:reader@example.com", "serviceAccount:jobs@p.iam.gserviceaccount.com"
API = "https://storage.googleapis.com/storage/v1/b"
UPLOAD = "https://storage.googleapis.com/upload/storage/v1/b"


@pytest.fixture
def project(tmp_path):
    project = Project.make(tmp_path / "project.json", name="p", owner="user:me@example.com")
    with project.change() as content:
        content["services"] = ["storage.googleapis.com"]
        content["buckets"] = {"data": "europe-west4"}
        content["bindings"]["bucket/data"] = [
            ["roles/storage.objectViewer", READER],
            ["roles/storage.objectAdmin", WRITER],
        ]
    return project


@pytest.mark.parametrize(
    ("method", "url", "permission"),
    [
        ("GET", f"{API}/data/o/a%2Fb?alt=media", "get"),
        ("GET", "https://storage.googleapis.com/data/a/b", "get"),  # TensorFlow
        ("GET", f"{API}/data/o?prefix=a", "list"),
        ("POST", f"{UPLOAD}/data/o?uploadType=resumable&name=a", "create"),
        ("PUT", f"{UPLOAD}/data/o?upload_id=1", "create"),
        ("POST", f"{API}/data/o/a/rewriteTo/b/data/o/b", "create"),
        ("DELETE", f"{API}/data/o/a", "delete"),
    ],
)
def test_each_request_needs_its_permission(method, url, permission, project):
    assert refusal(project, method, url, WRITER) is None
    assert refusal(project, method, url, "").code == 401
    refused = refusal(project, method, url, READER)
    if permission in ("get", "list"):
        assert refused is None
    else:
        assert f"does not have storage.objects.{permission} access" in refused.message
    assert refusal(project, method, url, "user:other@example.com").code == 403


def test_a_bucket_that_is_not_there_and_one_of_somebody_else(project):
    assert refusal(project, "GET", f"{API}/gone/o/a", WRITER).code == 404
    assert refusal(project, "GET", f"{API}/{PUBLIC}/o/a", READER) is None
    assert refusal(project, "DELETE", f"{API}/{PUBLIC}/o/a", WRITER).code == 404


def test_who_may_write_objects_may_not_read_what_the_bucket_says_of_itself(project):
    status, body = google.answer(project, "GET", f"{API}/data", member=WRITER)
    assert status == 403
    assert "does not have storage.buckets.get access" in body["error"]["message"]
    url = f"{API}/data/iam/testPermissions?permissions=storage.objects.create"
    assert google.answer(project, "GET", url, member=WRITER)[0] == 200


def test_the_store_is_closed_where_its_service_is(project):
    with project.change() as content:
        content["services"] = []
    refused = refusal(project, "GET", f"{API}/data/o/a", WRITER)
    assert refused.body["error"]["details"][0]["reason"] == "SERVICE_DISABLED"
    assert json.dumps(refused.body)


def test_who_asks_is_in_the_token():
    token = token_for(b"grant_type=refresh_token&refresh_token=user%3Ame%40example.com")
    assert token.startswith(TOKEN)
    headers = {"authorization": f"Bearer {token}", "x-goog-user-project": "p"}
    assert caller(headers) == {"member": "user:me@example.com", "quota_project": "p"}
    # A client of gRPC signs for itself, and takes no token.
    signed = "e30.eyJpc3MiOiJqb2JzQHAuaWFtIn0.c2ln"
    assert caller({"authorization": f"Bearer {signed}"})["member"] == "serviceAccount:jobs@p.iam"
    assert caller({})["member"] == ""
