"""Images of a registry, which go by a tag or by the digest of their manifest."""

import hashlib
import json
from typing import Any


def manifest(image: dict[str, Any]) -> dict[str, Any]:
    """What the registry answers for an image, as JSON without indentation."""
    return {"config": {"digest": config_digest(image)}, "built": image["digest"]}


def config_digest(image: dict[str, Any]) -> str:
    """Of the part of the image that holds its labels."""
    return _digest(image)


def find(content: dict[str, Any], name: str, reference: str) -> dict[str, Any] | None:
    """A pushed image, by its name without and with a tag or the digest of its manifest."""
    for other, image in content["pushed"].items():
        other_name, _, tag = other.rpartition(":")
        if other_name == name and reference in (tag, _digest(manifest(image))):
            return image
    return None


def _digest(content: dict[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(content).encode()).hexdigest()}"
