"""Conversion, training, evaluation, push, import and prediction in a bucket that fails.

The clients are the real ones, at their real addresses: Beam's file system, google-cloud-storage
below it, and TensorFlow's. At the end the bucket holds what the same run leaves on a local
disk, although requests were refused, connections cut, and the process was killed.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cloud.object_store.emulator import child_environment, emulator
from tests.cloud.object_store.every_stage import write_data
from tests.cloud.object_store.faults import Fault, FaultPlan, Faults
from tests.cloud.object_store.history import History
from tests.cloud.varying import MADE

pytestmark = pytest.mark.cloud

# Files that say when or where they were made, or how long it took; the names of the functions in
# saved_model.pb count what its process traced before, which is less in a continued one.
VARYING = re.compile(
    r"^evaluation/(report\.html|timing\.json)$|^examples/(data_report\.html|progress/)|^logs/"
    r"|^(model|served/version)/run\.json$"
    r"|/fingerprint\.pb$|/saved_model\.pb$|/pushed\.json$|^work/"
)
# Of a Beam job, for the step after it; emptied before each job, so that no other's is taken.
SUMMARY = "examples/progress/summary.json"
# Written again and again under one name: locks, event files, the run's own notes, what was found so
# far.
REWRITTEN = re.compile(
    rf"^work/|^logs/|^{re.escape(SUMMARY)}$|^found/(predict\.json|results\.jsonl)$"
    r"|^examples/conversion\.lock$"
)
SHARES = {
    Fault.TOO_MANY_REQUESTS: 0.01,
    Fault.UNAVAILABLE: 0.01,
    Fault.CUT_REQUEST: 0.06,
    Fault.CUT_ANSWER: 0.01,
    Fault.LOST_ANSWER: 0.01,
    Fault.SLOW: 0.01,
}


def start(data, root, environment):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cloud.object_store.every_stage", str(data), str(root)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    said = process.communicate(timeout=1500)[1]
    assert process.returncode == 0, said[-5000:]


def comparable(files: dict[str, bytes], root: str, data: str) -> dict[str, bytes]:
    """Contents without the addresses in them, pushed versions without their number."""
    return {
        re.sub(r"^served/\d+/", "served/version/", re.sub(r"/events\.out.*", "/events", name)): (
            re.sub(
                MADE, b"", content.replace(root.encode(), b"ROOT").replace(data.encode(), b"DATA")
            )
        )
        for name, content in files.items()
        if not name.endswith(("/", "trainer.lock"))
    }


def test_a_bucket_that_fails_ends_up_like_a_disk(tmp_path: Path):
    data, local = write_data(tmp_path / "data"), tmp_path / "local"
    finish(start(data, local, os.environ))
    files = {str(p.relative_to(local)): p.read_bytes() for p in local.rglob("*") if p.is_file()}
    expected = comparable(files, str(local), str(data))

    with emulator(tmp_path) as bucket:
        bucket.put_folder(data, "data")
        history, trained_on = History(bucket, "run/"), threading.Event()

        def changed():
            history.note()
            if any("step-000000020.npz" in name for name in history.versions):
                trained_on.set()

        bucket.front.faults = faults = Faults(FaultPlan(seed=5, shares=SHARES))
        bucket.front.changed = changed
        places = (bucket.address("data"), bucket.address("run"))
        killed = start(*places, child_environment(bucket))
        while not trained_on.wait(1):
            assert killed.poll() is None, killed.communicate()[1][-5000:]
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert not [name for name in bucket.names("run/") if "served/" in name]
        finish(start(*places, child_environment(bucket)))
        found = comparable(bucket.files("run/"), places[1], places[0])
        without_token = bucket.front.without_token
        print(f"{sum(bucket.front.asked.values())} requests, {dict(faults.counts)}")

    assert found.keys() == expected.keys()
    differing = {name for name in expected if found[name] != expected[name]}
    assert not [name for name in differing if not VARYING.search(name)]
    # What decides the run is among what is equal.
    for name in ("model/model.weights.h5", "evaluation/metrics.json", "examples/dataset_info.json"):
        assert name in expected
        assert not VARYING.search(name)
    assert all(faults.counts[fault] for fault in Fault)
    assert history.states > 100
    assert history.half_written(rewritten=REWRITTEN) == []
    assert len(history.versions[SUMMARY]) == 2, "empty and whole, the same after both jobs"
    assert not without_token
