"""Each client of `gs://` alone: it survives every fault, and what it wrote is complete."""

import json
import re
import subprocess
import sys

import pytest

from tests.cloud.object_store.emulator import child_environment, emulator
from tests.cloud.object_store.faults import Fault, FaultPlan, Faults
from tests.cloud.object_store.history import History

pytestmark = pytest.mark.cloud

# Files below and above what a client sends at once, each written, moved and read again.
TENSORFLOW = """
import tensorflow as tf
for number in range(12):
    place, content = f"gs://bucket/run/{number}", bytes([number]) * 10 ** (number % 4 + 3)
    with tf.io.gfile.GFile(f"{place}.tmp-1", "wb") as file:
        file.write(content)
    tf.io.gfile.rename(f"{place}.tmp-1", place)
    assert tf.io.gfile.GFile(place, "rb").read() == content
    assert str(number) in tf.io.gfile.listdir("gs://bucket/run")
"""
BEAM = """
from apache_beam.io.filesystem import CompressionTypes
from components.storage.files import new_file, read_file
assert read_file("gs://bucket/run", "0") is None
for number in range(12):
    content = bytes([number]) * 10 ** (number % 4 + 3)
    with new_file("gs://bucket/run", str(number)) as file:
        file.write(content)
    assert read_file("gs://bucket/run", str(number)) == content
"""
STORAGE = """
from google.cloud import storage
bucket = storage.Client().bucket("bucket")
for number in range(12):
    content = bytes([number]) * 10 ** (number % 4 + 3)
    bucket.blob(f"run/{number}").upload_from_string(content)
    assert bucket.blob(f"run/{number}").download_as_bytes() == content
"""


@pytest.mark.parametrize(
    "program", [TENSORFLOW, BEAM, STORAGE], ids=["tensorflow", "beam", "storage"]
)
def test_a_client_gets_over_every_fault(program, tmp_path):
    with emulator(tmp_path) as bucket:
        history = History(bucket, "run/")
        bucket.front.changed = history.note
        faults = Faults(FaultPlan(seed=2, shares=dict.fromkeys(Fault, 0.05), slow_s=0.1))
        bucket.front.faults = faults
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=child_environment(bucket),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        files = bucket.files("run/")
        asked = bucket.front.asked
        assert not bucket.front.without_token
    print(f"{sum(asked.values())} requests, faults {sum(faults.counts.values())}")
    expected = {str(n): bytes([n]) * 10 ** (n % 4 + 3) for n in range(12)}
    assert {n: c for n, c in files.items() if not n.startswith("progress/")} == expected
    assert history.half_written(rewritten=re.compile("^progress/")) == []
    assert sum(faults.counts.values()) > 3


PUSH = """
import json, sys
from components import model_pusher
if sys.argv[1:]:
    model_pusher._rename = lambda hidden, version: hidden.rename(version)
print(json.dumps(model_pusher.push_model("gs://bucket/model", "gs://bucket/run/served")))
"""


@pytest.mark.parametrize("broken", [(), ("renamed as one folder",)])
def test_a_version_is_whole_before_a_server_can_see_it(broken, tmp_path):
    with emulator(tmp_path) as bucket:
        for name in ("model.json", "Format-Serving/saved_model.pb"):
            bucket.put(f"model/{name}", b"{}")
        bucket.put("model/Format-Serving/variables/variables.index", b"v")
        history = History(bucket, "run/")
        bucket.front.changed = history.note
        done = subprocess.run(
            [sys.executable, "-c", PUSH, *broken],
            env=child_environment(bucket),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        version = json.loads(done.stdout.splitlines()[-1])["version"]
        found = {name for name in bucket.files(f"run/served/{version}/") if name[-1:] != "/"}
    graph = {"saved_model.pb", "variables/variables.index"}
    assert found - {""} == {*graph, "pushed.json", "model.json"}
    assert bool(history.half_written(rewritten=re.compile("$^"))) is bool(broken)
