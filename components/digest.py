"""The digest by which folders and cache keys are named."""

import hashlib


def digest_of(*parts: str) -> str:
    """Digest of several texts, of 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
