"""Who may read and write which objects of a bucket: every request to the store is looked at."""

import re
from urllib.parse import urlsplit

from tests.cloud.project.google import STORAGE
from tests.cloud.project.permissions import Refused, admit, demand
from tests.cloud.project.state import Project

# Everybody may read what is in this bucket of somebody else.
PUBLIC = "pix2seq"
_BY_JSON = re.compile(
    r"(?P<kind>/upload|/download)?(?:/resumable)?/storage/v1/b/(?P<bucket>[^/]+)/o"
    r"(?P<object>/[^/]+)?(?P<action>/.+)?"
)
_BY_NAME = re.compile(r"/(?P<bucket>[^/]+)/(?P<object>.+)")
_VERBS = {"GET": "get", "HEAD": "get", "DELETE": "delete", "PATCH": "update", "PUT": "update"}


def refusal(project: Project, method: str, url: str, member: str) -> Refused | None:
    """Why somebody may not do what a request asks of the store; None if it may go there."""
    path = urlsplit(url).path
    found = _BY_JSON.fullmatch(path)
    if found:
        bucket = found["bucket"]
        if found["kind"] == "/upload" or found["action"]:
            verb = "create"
        else:
            verb = _VERBS[method] if found["object"] else "list"
    elif by_name := _BY_NAME.fullmatch(path):
        bucket, verb = by_name["bucket"], _VERBS[method]
    else:
        return None
    try:
        content = admit(project, member, STORAGE)
        if bucket == PUBLIC and verb in ("get", "list"):
            return None
        if bucket not in content["buckets"]:
            return Refused(404, "NOT_FOUND", "The specified bucket does not exist.")
        demand(content, member, f"storage.objects.{verb}", f"bucket/{bucket}")
    except Refused as refused:
        return refused
    return None
