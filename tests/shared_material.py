"""Where the recorded reference arrays and the real COCO sample lie, if they lie next to this repository."""

from pathlib import Path

import pytest

_CANDIDATE = Path(__file__).resolve().parents[2] / "shared"
SHARED: Path | None = _CANDIDATE if _CANDIDATE.is_dir() else None

needs_shared = pytest.mark.skipif(
    SHARED is None,
    reason=f"the shared reference material is not at {_CANDIDATE}",
)
