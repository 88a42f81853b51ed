"""The benchmark of buckets does all three things by HTTPS with every client, at a tiny size."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.large
def test_every_way_is_measured():
    sizes = ["--listed=30", "--images=20", "--kilobytes=9", "--rounds=1", "--latency_ms=1"]
    done = subprocess.run(
        [sys.executable, str(_ROOT / "benchmarks/bucket.py"), *sizes],
        env={k: v for k, v in os.environ.items() if "proxy" not in k.lower()},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for what in ("finding", "reading", "unpacking"):
        assert f"{what:9s} processor time, ours / plain: " in done.stdout
    # Twenty images, the note of the archive, and the listings of their folders.
    (ours,) = (row for row in done.stdout.splitlines() if row.startswith("unpacking ours"))
    assert "41 of class A" in ours
