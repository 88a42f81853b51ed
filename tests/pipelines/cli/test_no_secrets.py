"""No token, key or signed address gets into what the pipeline writes down."""

import json
import logging
import types

import pytest

from pipelines.cli.no_secrets import blot_out, find_secret, refuse_in_arguments, refuse_in_config
from pipelines.local.run_log import run_log
from pipelines.request import Request
from pipelines.vertex import job as vertex_job
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config
from pix2seq_model.training.replicas import Replicas
from pix2seq_model.training.run_record import run_record
from tests.fixtures.commands import run_command

PLANTED = {
    "a signed address": (
        "https://storage.googleapis.com/b/o.json?X-Goog-Expires=9&X-Goog-Signature=plantedabc"
    ),
    "a password in an address": "https://me:plantedabc@example.org/labels.json",
    "a private key": "-----BEGIN PRIVATE KEY-----plantedabc",
    "an access token": "ya29.plantedabc",
}
HARMLESS = (
    *("gs://bucket/a?b=c", "--config.evaluation.end_token_offset=0.1", "/data/train2017"),
    *("https://example.org/a:b@c", "europe-docker.pkg.dev/p/r/i@sha256:0123", "a=b&sign=1"),
)


@pytest.mark.parametrize(("kind", "text"), PLANTED.items())
def test_secrets_are_known(kind, text):
    assert find_secret(text) == kind
    assert "plantedabc" not in blot_out(f"asking {text} now")
    assert blot_out(f"asking {text} now").startswith("asking ")


@pytest.mark.parametrize("text", HARMLESS)
def test_other_words_are_not(text):
    assert find_secret(text) is None
    assert blot_out(text) == text


def test_the_name_is_told_and_not_the_value():
    with pytest.raises(ConfigError, match=r"--config\.data\.x holds a signed address") as raised:
        refuse_in_arguments([f"--config.data.x={PLANTED['a signed address']}"])
    assert "planted" not in str(raised.value)
    with pytest.raises(ConfigError, match=r"^an argument holds an access token") as raised:
        refuse_in_arguments(["ya29.planted=3"])
    assert "planted" not in str(raised.value)
    with pytest.raises(ConfigError, match=r"^data\.images\.train holds"):
        refuse_in_config({"data": {"images": {"train": PLANTED["an access token"]}}})


@pytest.mark.parametrize("secret", PLANTED.values())
def test_a_command_refuses_it_before_anything_is_written(secret, tmp_path):
    done = run_command(
        "run_pipeline",
        *("--config=configs/demo.py", f"--pipeline_root={tmp_path / 'root'}"),
        f"--config.data.finetune.annotations.train={secret}",
        status=2,
    )
    assert "config.data.finetune.annotations.train holds a" in done.stderr
    assert "planted" not in done.stdout + done.stderr
    assert not (tmp_path / "root").exists()


def test_a_secret_in_a_config_file_is_refused(tmp_path):
    config = tmp_path / "mine.py"
    config.write_text(
        "from configs import demo\n"
        "def get_config():\n"
        "    config = demo.get_config()\n"
        f"    config.push.destination = {PLANTED['an access token']!r}\n"
        "    return config\n"
    )
    root = tmp_path / "root"
    done = run_command("run_pipeline", f"--config={config}", f"--pipeline_root={root}", status=2)
    assert "push.destination holds an access token" in done.stderr
    assert "planted" not in done.stdout + done.stderr


def test_what_libraries_log_is_blotted_out(tmp_path):
    with run_log(tmp_path) as log:
        for kind, secret in PLANTED.items():
            logging.getLogger("urllib3").warning("%s: %s", kind, secret)
        try:
            raise ValueError(PLANTED["an access token"])
        except ValueError:
            logging.getLogger("tfx").exception("a step failed")
    text = log.read_text()
    assert "planted" not in text
    assert text.count("[secret]") == len(PLANTED) + 1


@pytest.fixture
def environment(monkeypatch):
    """Secrets where programs keep them."""
    for name in ("GOOGLE_OAUTH_ACCESS_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "API_KEY"):
        monkeypatch.setenv(name, "ya29.plantedabc")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/secret/plantedabc.json")


def test_the_environment_does_not_get_into_job_files(environment, tmp_path):
    places = tuple(
        f"data.{stage}.{kind}.{split}=gs://b/{stage}"
        for stage in ("pretrain", "finetune")
        for kind in ("images", "annotations")
        for split in ("train", "val")
    )
    request = Request(
        config=load_config("configs/full.py:vit_b,640", places),
        config_name="configs/full.py:vit_b,640",
        overrides=places,
        pipeline_root="gs://bucket/root",
        beam_args=("--project=p", "--region=europe-west4", "--runner=DataflowRunner"),
    )
    vertex_job.write_job(vertex_job.on_cloud(request, image="image:1"), tmp_path / "job.json")
    assert "planted" not in (tmp_path / "job.json").read_text()


def test_the_environment_does_not_get_into_a_runs_record(environment):
    run = types.SimpleNamespace(
        config={"seed": 1}, stage="finetune", settings=types.SimpleNamespace(steps=1)
    )
    job = types.SimpleNamespace(
        run=run,
        base_info=None,
        examples_dir="examples",
        split="train",
        data=types.SimpleNamespace(fingerprint=str),
        replicas=Replicas(),
    )
    record = run_record(job, {"restarts": 0, "wall_time_s": 1.0})
    assert "plantedabc" not in json.dumps(record)
