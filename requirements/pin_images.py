"""Asks Docker Hub for the digests of the Dockerfile's base images, and writes images.json.

Nothing is written unless every digest was read. Needs Python's standard library only.

    python requirements/pin_images.py
"""

import http.client
import json
import os
import re
import sys
import urllib.request
from pathlib import Path

_HERE = Path(__file__).parent
_SECONDS = 30
# Of an image for several kinds of machines, and for one.
_KINDS = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


def base_images(dockerfile: str) -> dict[str, str]:
    """The images by the argument that holds their digest: {"BEAM_DIGEST": "apache/…:2.77.0"}."""
    values = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    images = {}
    for image, argument in re.findall(r"^FROM (\S+?)\$\{(\w+_DIGEST)\}", dockerfile, re.MULTILINE):
        images[argument] = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], image)
    return images


def read_digest(image: str) -> str:
    """The digest of an image of Docker Hub.

    Raises:
      OSError: the registry cannot be reached, or does not know the image.
      HTTPException, LookupError, TypeError, ValueError: what answers is no registry.
    """
    name, _, tag = image.partition(":")
    name = name if "/" in name else f"library/{name}"
    service = "https://auth.docker.io/token?service=registry.docker.io"
    with urllib.request.urlopen(f"{service}&scope=repository:{name}:pull", timeout=_SECONDS) as got:
        token = json.load(got)["token"]
    request = urllib.request.Request(
        f"https://registry-1.docker.io/v2/{name}/manifests/{tag}",
        method="HEAD",
        headers={"Authorization": f"Bearer {token}", "Accept": _KINDS},
    )
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        digest = answer.headers.get("Docker-Content-Digest", "")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise OSError(f"the registry says no digest of {image}")
    return digest


def main() -> int:
    images = base_images((_HERE.parent / "Dockerfile").read_text())
    try:
        found = {
            argument: {"image": image, "digest": read_digest(image)}
            for argument, image in images.items()
        }
    # Where a network has a page of its own in front of all addresses, that is what answers.
    except (OSError, http.client.HTTPException, LookupError, TypeError, ValueError) as error:
        print(f"No registry can be reached here ({error!r}); nothing was changed.", file=sys.stderr)
        return 2
    new = _HERE / "images.json.new"
    new.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(new, _HERE / "images.json")
    for row in found.values():
        print(f"{row['image']}@{row['digest']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
