"""No token, key or signed address gets into what the pipeline writes down."""

import base64
import json
import logging
import runpy
import types
from pathlib import Path

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

PROJECT = Path(__file__).parents[3]
PLANTED = {
    "a signed address": (
        "https://storage.googleapis.com/b/o.json?X-Goog-Expires=9&X-Goog-Signature=plantedabc"
    ),
    "a password in an address": "https://me:plantedabc@example.org/labels.json",
    "a private key": "-----BEGIN PRIVATE KEY-----plantedabc",
    "an access token": "ya29.plantedabc",
}
# Made up, in the form that each service gives; put together here, so that nobody who searches this
# file for secrets finds one.
_P = "planted" + "abc"
_LETTERS = "PLANTEDABC" + "0123456789" * 4
FORMS = {
    "AWS id": "AKIA" + _LETTERS[:16],
    "AWS temporary id": "ASIA" + _LETTERS[:16],
    "AWS key": f"aws_secret_access_key={_P}/+abc0123456789",
    "AWS key in JSON": f'"SecretAccessKey": "{_P}"',
    "AWS session in JSON": f'"SessionToken": "{_P}"',
    "AWS key in a credentials file": f"aws_secret_access_key = {_P}",
    "behind an underscore": f"DB_PASSWORD={_P}",
    "a name in one word": f"PGPASSWORD={_P}",
    "key of a service": f"WANDB_API_KEY={_P}",
    "token of a service": f"CI_JOB_TOKEN={_P}0123456789",
    "Azure client by name": f"AZURE_CLIENT_SECRET={_P}",
    "HMAC key by name": f"GOOG_HMAC_SECRET={_P}",
    "YAML": f"password: {_P}",
    "client secret in YAML": f"client_secret: {_P}",
    "Azure storage in YAML": f"AccountKey: {_P}",
    "HMAC key in YAML": f"hmac_secret: {_P}",
    "private key by name": f'"private_key": "{_P}"',
    "header": f'"api-key": "{_P}"',
    "npm's settings": f"//registry.npmjs.org/:_authToken={_P}",
    "JSON in JSON": f'{{\\"password\\": \\"{_P}\\"}}',
    "a phrase": f'password = "correct horse {_P}"',
    "short, in YAML": "password: planted7",
    "AWS key with slashes, in YAML": f"aws_secret_access_key: {_P}/K7MDENG/bPxRfiCY",
    "the same, in a credentials file": f"aws_secret_access_key = /{_P}/K7MDENG{'bPxRfiCY' * 3}",
    "a token with slashes": f"VAULT_TOKEN={_P}/K7MDENG",
    "sk, with dashes": f"sk-ant-api03-{_P}-K7MDENGbP-x",
    "bearer": f"Authorization: Bearer {_P}.PlantedAbc",
    "short": f"password=1234{_P}",
    "a sign in front": f"password=${_P}!",
    "Slack": f"xoxb-123-456-{_P}",
    "Slack app": f"xapp-1-A0-{_P}",
    "Slack webhook": f"https://hooks.slack.com/services/T0/B0/{_P}",
    "sk": f"sk-proj-{_P}0123456789",
    "Stripe": f"sk_live_{_P}0123456789",
    "PyPI": f"pypi-AgEIcHlwaS5vcmc{_P}",
    "npm": f"npm_{_P}" + "0" * 26,
    "HMAC id": "GOOG1E" + _LETTERS[:30],
    "HMAC key": f"hmac_secret={_P}",
    "Azure storage": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={_P}==;x=y",
    "Azure bus": f"Endpoint=sb://x/;SharedAccessKeyName=k;SharedAccessKey={_P}",
    "Azure client": f"abc8Q~{_P}" + "0" * 26,
    "user and password": f"postgres://me:{_P}@host/db",
    "token as the user": f"https://{_P}@example.org/x",
    "no user, a password": f"redis://:{_P}@host/0",
    "PEM in base64": base64.b64encode(f"-----BEGIN PRIVATE KEY-----\n{_P * 4}".encode()).decode(),
    "service account": base64.b64encode(f'{{"type": "service_account", "{_P}'.encode()).decode(),
    "service account, compact": base64.b64encode(
        f'{{"type":"service_account","x":"{_P}'.encode()
    ).decode(),
    "service account, indented": base64.b64encode(
        f'{{\n  "type": "service_account",\n  "{_P}'.encode()
    ).decode(),
    **{
        f"a key file, {shift} bytes on": base64.b64encode(
            f'{{{" " * shift}"project_id": "p", "private_key": "{_P}", "x": "{_P}"}}'.encode()
        ).decode()
        for shift in range(3)
    },
    "EC": "MHcCAQEE" + _P * 10,
    "EC, PKCS 8": "MIGHAgEAMBMGByqGSM49" + _P * 10,
    "EC of 384 bits": "MIGkAgEBBD" + _P * 10,
    "Ed25519": "MC4CAQAwBQYDK2VwBCIEI" + _P * 5,
    "DER": "MIIEvQIBADANBgkqhkiG9w0" + _P * 30,
    "basic": f"Authorization: Basic {_P}0123456789==",
    "password in JSON": f'{{"password": "{_P}"}}',
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_every_form_is_refused_in_flags_and_configs_and_removed_from_logs(text):
    with pytest.raises(ConfigError) as refused:
        refuse_in_arguments([f"--config.data.x={text}"])
    assert text not in str(refused.value)
    with pytest.raises(ConfigError):
        refuse_in_config({"data": {"x": text}})
    shown = blot_out(f"asking {text} now")
    secret = next(part for part in (_P, _LETTERS[:10], text[-40:]) if part in text)
    assert secret not in shown
    assert shown.startswith("asking ")
    assert shown.endswith(" now")


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\\n"])
def test_every_line_of_a_key_in_base64_is_removed(line_break):
    """`base64` breaks its lines unless it is told otherwise."""
    letters = "".join(map(str, range(100, 400)))
    for text in (
        f'{{\n  "type": "service_account",\n  "private_key": "{letters}"\n}}',
        f"-----BEGIN PRIVATE KEY-----\n{letters}",
        f'{{ "project": "p", "private_key": "{letters}"}}',
    ):
        encoded = base64.encodebytes(text.encode()).decode().split()
        assert len(encoded) > 10
        shown = blot_out(f"asking {line_break.join(encoded)}{line_break}and again")
        assert shown == f"asking [secret]{line_break}and again"


def test_a_password_with_an_at_sign_is_removed_whole():
    for text in ("https://me:planted@bc@example.org/x", "postgres://me:planted@bc@host:80/x@y"):
        with pytest.raises(ConfigError):
            refuse_in_arguments([text])
        shown = blot_out(text)
        assert "bc" not in shown
        assert "[secret]@" in shown


HARMLESS = (
    *("gs://bucket/a?b=c", "--config.evaluation.end_token_offset=0.1", "/data/train2017"),
    *("ssh://git@example.org/x", "oci://host/image@sha256:01", "mask-of-all-the-photographs-2026"),
    *("/data/task-with-a-long-name-and-more", "pypi-mirror/packages", "--config.seed=3"),
    *("tokens=3", "secretary", "MIIdata", "npm_modules", "basic settings of a network"),
    # The project's own settings and a person's classes.
    *("max_tokens=512", "--config.tokens.end_token=3", "BOS_TOKEN = 3", '"end_token": "reserved"'),
    *("names: [password, secret]", '{"name": "password", "id": 3}', "{'secret': 12, 'key': 3}"),
    *("secret=0.5123", '"password": 0.41', "--classes=password,secret", "0: password"),
    # Sentences, paths and words.
    *("NEXT_TOKEN: /models/tokens/vocabulary", "NEXT_TOKEN=gs://b/a_long_name_of_a_folder/x"),
    *("--images=/data/secret: garden", "the secret = 5000 images", "No PASSWORD: given by user"),
    *("Secret: see README", "error: password=required", "password: required", "secret: /a/b/c2"),
    *("gs://b/sk-learn-datasets-2024-06-01", "sk-learn-Datasets-of-the-year-2024"),
    *("a basic misclassification of objects", "bearer of-this-long-word-with-dashes"),
    # What only stands for a secret, or tells where one is.
    *("DB_PASSWORD=$DB_PASSWORD", 'password: "${PASSWORD}"', "password={password}", "secret=***"),
    *("api-key: <your key>", "password=%(password)s", "client_secret=None", '"password": ""'),
    *("user and password: MLFLOW_TRACKING_USERNAME, …", "API_KEY=$(cat key)"),
    *("password=...", "password: [secret]", "private_key_path=/a/b"),
    *("gs://bucket/secret/password/a.json", "/data/api_key/train", "secretName: a", "MHcCAQEEdata"),
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


@pytest.mark.parametrize("path", sorted((PROJECT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_no_setting_of_a_config_is_taken_for_one(path):
    config = runpy.run_path(str(path)).get("get_config", dict)()
    refuse_in_config(config)
    refuse_in_arguments(f"--config.{key}={value}" for key, value in config.items())


def test_no_line_of_the_documents_is_taken_for_one():
    for path in (PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")):
        for line in path.read_text().splitlines():
            assert find_secret(line) is None, f"{path.name}: {line}"


@pytest.mark.parametrize(
    "piece", ["-eyJab", "password=\n", "secret:/", "sk-a", "a+ey+InByaXZhdGVf", "'://a:\\"]
)
def test_a_text_of_a_megabyte_is_searched_once(piece):
    """Were it searched to its end from each piece on, this would take minutes."""
    assert find_secret(piece * (1_000_000 // len(piece))) is None


def test_a_setting_is_judged_by_its_name_too():
    with pytest.raises(ConfigError, match=r"^push\.api_key holds"):
        refuse_in_config({"push": {"api_key": "planted"}})
    refuse_in_config({"push": {"api_key": None, "password": "", "token": "a" * 20}})


def test_the_documents_number_is_the_number_of_forms():
    document = (PROJECT / "docs/reliability.md").read_text()
    assert f"| {len(FORMS)} forms, and {len(HARMLESS)} texts that only look" in document


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
        for kind, secret in (PLANTED | FORMS).items():
            logging.getLogger("urllib3").warning("%s: %s", kind, secret)
        try:
            raise ValueError(PLANTED["an access token"])
        except ValueError:
            logging.getLogger("tfx").exception("a step failed")
    text = log.read_text()
    assert "planted" not in text
    assert _LETTERS[:16] not in text
    assert text.count("[secret]") == len(PLANTED) + len(FORMS) + 1


def test_a_message_to_the_terminal_holds_none(tmp_path):
    """Also one that a command was not given, but read: a place in an annotation file, say."""
    page = tmp_path / "x.py"
    page.write_text(f"raise ValueError({FORMS['Slack']!r})\n")
    root = tmp_path / "root"
    done = run_command("run_pipeline", f"--config={page}", f"--pipeline_root={root}", status=2)
    assert "planted" not in done.stdout + done.stderr
    assert "[secret]" in done.stderr


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
