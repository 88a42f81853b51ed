"""Who asks: the tokens that the stand-in hands out, and those that clients make themselves."""

import base64
import json
from collections.abc import Mapping
from urllib.parse import parse_qs

from tests.cloud.object_store.front import TOKEN


def token_for(asked: bytes) -> str:
    """The token for what a client sends: a person's refresh token, or an account's signed word."""
    given = parse_qs(asked.decode())
    if "refresh_token" in given:  # As `gcloud auth application-default login` left it.
        member = given["refresh_token"][0]
    else:
        member = _account(given["assertion"][0])
    return f"{TOKEN}.{member.encode().hex()}"


def caller(headers: Mapping[str, str]) -> dict[str, str]:
    """`member` and `quota_project` of a request, by its headers or metadata, in lower case."""
    token = headers.get("authorization", "").removeprefix("Bearer ")
    if token.startswith(TOKEN):
        member = bytes.fromhex(token.removeprefix(TOKEN).lstrip(".")).decode()
    else:
        member = _account(token) if token.count(".") == 2 else ""
    return {"member": member, "quota_project": headers.get("x-goog-user-project", "")}


def _account(signed: str) -> str:
    claims = signed.split(".")[1]
    issuer = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["iss"]
    return f"serviceAccount:{issuer}"
