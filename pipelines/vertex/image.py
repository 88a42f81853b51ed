"""Whether the image is there, has the same packages and code as the launcher, and its digest."""

import hashlib
from collections.abc import Iterator

import requests

from pipelines import image_identity
from pipelines.vertex.findings import TIMEOUT_S, Endpoints, Finding, enabled, reason

_DOCKER, _OCI = "application/vnd.docker.distribution.manifest", "application/vnd.oci.image"
_MANIFEST_TYPES = (
    *(f"{_DOCKER}.v2+json", f"{_DOCKER}.list.v2+json"),
    *(f"{_OCI}.manifest.v1+json", f"{_OCI}.index.v1+json"),
)


def check_image(image: str, session: requests.Session, endpoints: Endpoints) -> Iterator[Finding]:
    """Asks the registry for the image, and its labels for what it was built from."""
    build = f"make image IMAGE={image} && docker push {image}"
    session, base, reference = _registry(image, session, endpoints)
    manifest = _manifest(session, base, reference)
    if manifest.status_code != 200:
        # Another registry may want credentials of its own; for Google's the check of the roles
        # says what is missing.
        closed = manifest.status_code in (401, 403)
        what = f"image {image} cannot be read: {reason(manifest)}"
        yield Finding(what=what, fix=build, blocks=not closed)
        return
    digest = manifest.json()["config"]["digest"]
    config = session.get(f"{base}/blobs/{digest}", timeout=TIMEOUT_S).json()
    labels = config.get("config", {}).get("Labels") or {}
    for label, here, kind in (
        (image_identity.REQUIREMENTS_LABEL, image_identity.requirements_digest(), "packages"),
        (image_identity.CODE_LABEL, image_identity.code_digest(), "code"),
    ):
        found = labels.get(label, "no label")
        if found != here:
            what = f"image {image} was built with other {kind} than here ({found}, here {here})"
            yield Finding(what=what, fix=build)


def pinned(image: str, session: requests.Session, endpoints: Endpoints) -> str:
    """The image's name with the digest that its tag means now, which never means another.

    Raises:
      LookupError: the registry does not say; says why.
      requests.RequestException: it does not answer.
    """
    if "@" in image:
        return image
    session, base, reference = _registry(image, session, endpoints)
    answer = _ask(session, base, reference)
    if answer.status_code != 200:
        raise LookupError(reason(answer))
    # By the specification the digest of a manifest is that of its bytes.
    digest = hashlib.sha256(answer.content).hexdigest()
    host_and_name = f"{image.partition('/')[0]}/{base.partition('/v2/')[2]}"
    return f"{host_and_name}@sha256:{digest}"


def _registry(
    image: str, session: requests.Session, endpoints: Endpoints
) -> tuple[requests.Session, str, str]:
    """How to ask for an image: session, address, tag or digest."""
    host, _, rest = image.partition("/")
    name, at, reference = rest.partition("@")
    if not at:
        name, _, reference = rest.partition(":")
    # Only Google's registries are sent the user's token.
    googles = f".{host}".endswith(endpoints.googles_registries)
    base = f"{endpoints.registry_scheme}://{host}/v2/{name}"
    return session if googles else requests.Session(), base, reference or "latest"


def _ask(session: requests.Session, base: str, reference: str) -> requests.Response:
    headers = {"Accept": ", ".join(_MANIFEST_TYPES)}
    return session.get(f"{base}/manifests/{reference}", headers=headers, timeout=TIMEOUT_S)


def _manifest(session: requests.Session, base: str, reference: str) -> requests.Response:
    """The image's manifest, looked up in an index if the name is that of one."""
    answer = enabled(_ask(session, base, reference))
    if answer.status_code == 200 and "manifests" in answer.json():
        for entry in answer.json()["manifests"]:
            if entry.get("platform", {}).get("architecture") == "amd64":
                return _ask(session, base, entry["digest"])
    return answer
