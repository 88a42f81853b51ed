"""Whether the image is there, and has the same packages and code as the launcher."""

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
    host, _, rest = image.partition("/")
    name, at, reference = rest.partition("@")
    if not at:
        name, _, reference = rest.partition(":")
    base = f"{endpoints.registry_scheme}://{host}/v2/{name}"
    # Only Google's registries are sent the user's token.
    googles = f".{host}".endswith(endpoints.googles_registries)
    session = session if googles else requests.Session()
    manifest = _manifest(session, base, reference or "latest")
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


def _manifest(session: requests.Session, base: str, reference: str) -> requests.Response:
    """The image's manifest, looked up in an index if the name is that of one."""
    headers = {"Accept": ", ".join(_MANIFEST_TYPES)}
    address = f"{base}/manifests/{reference}"
    answer = enabled(session.get(address, headers=headers, timeout=TIMEOUT_S))
    if answer.status_code == 200 and "manifests" in answer.json():
        for entry in answer.json()["manifests"]:
            if entry.get("platform", {}).get("architecture") == "amd64":
                return session.get(
                    f"{base}/manifests/{entry['digest']}", headers=headers, timeout=TIMEOUT_S
                )
    return answer
