"""demo_server.py as a person runs it."""

import http.client
import json
import os
import re
import signal
import socket
import time

from tests.fixtures.commands import run_command, start_command
from tests.fixtures.evaluated_model import write_model
from tests.fixtures.records import jpeg


def test_it_says_where_it_is_answers_and_ends(tmp_path):
    model = write_model(tmp_path / "model")
    served = tmp_path / "served" / "12"
    served.mkdir(parents=True)
    (served / "pushed.json").write_text(json.dumps({"model_folder": str(model)}))
    thresholds = {"overall": {"threshold": 0.437, "f1": 0.5}, "classes": []}
    (served / "score_thresholds.json").write_text(json.dumps(thresholds))
    command = start_command("demo_server", f"--model={served.parent}", "--port=0", folder=tmp_path)
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", _said(tmp_path))):
            assert command.is_alive(), (tmp_path / "err").read_text()
            time.sleep(0.1)
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=120)
        connection.request("POST", "/detect", jpeg(80, 50, seed=1))
        answer = json.loads(connection.getresponse().read())
        assert (answer["width"], answer["height"]) == (80, 50)
        connection.request("GET", "/model")
        told = json.loads(connection.getresponse().read())
        assert str(model) not in json.dumps(told)
        assert [row["name"] for row in told["classes"]] == ["ring", "cross"]
        assert told["has_attention"]
        assert told["threshold"] == 0.437
        # It is not to be reached from elsewhere: not even under this machine's other addresses.
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.2", int(found[1]))) != 0
        os.kill(command.pid, signal.SIGINT)
        command.join(120)
        assert command.exitcode == 0
    finally:
        command.kill()
    assert "80 x 50: " in (tmp_path / "err").read_text()
    assert _said(tmp_path).endswith("ended\n")


def _said(folder):
    path = folder / "out"
    return path.read_text() if path.exists() else ""


def test_what_cannot_work_ends_in_one_line(tmp_path):
    assert "x: no such folder" in run_command("demo_server", "--model=x", status=2).stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = (f"--model={write_model(tmp_path / 'model')}", f"--port={port}")
        done = run_command("demo_server", *flags, status=2)
    assert f"--port={port} cannot be listened at" in done.stderr
