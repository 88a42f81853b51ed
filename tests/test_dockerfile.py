"""The image must agree with the pinned file; the tests have no Docker."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from pipelines import image_identity
from tests.cloud.image.dockerfile import assignments, fill_in, ignored, instructions

PROJECT = Path(__file__).parents[1]
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
STEPS = instructions(DOCKERFILE)
CODE = ("pix2seq_model", "components", "configs", "pipelines")


def pinned(package: str) -> str:
    return pins("runtime")[package]


def pins(name: str) -> dict[str, str]:
    text = (PROJECT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def test_the_workers_beam_is_the_pinned_one():
    assert re.search(r"ARG BEAM_VERSION=(\S+)", DOCKERFILE)[1] == pinned("apache-beam")


def test_every_stage_has_the_same_python():
    versions = re.findall(r"FROM (?:python:|apache/beam_python)(\d+\.\d+)", DOCKERFILE)
    assert versions == ["3.11", "3.11", "3.11"]


def test_all_code_is_in_the_image():
    copied = set(re.findall(r"^COPY (\w+)/ \1/$", DOCKERFILE, re.MULTILINE))
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests"}
    assert copied == packages


def test_all_that_is_fetched_is_named_with_its_version():
    images = [step.value for step in STEPS if step.keyword == "FROM"]
    assert images == [
        "apache/beam_python3.11_sdk:${BEAM_VERSION}${BEAM_DIGEST} AS beam",
        "python:3.11-slim-bookworm${PYTHON_DIGEST} AS packages",
        "python:3.11-slim-bookworm${PYTHON_DIGEST}",
    ]


def test_what_changes_often_comes_last():
    """So that a push of new code sends a few hundred kilobytes."""
    copies = [step.value.split()[0] for step in STEPS if step.keyword == "COPY"]
    assert copies[-5:] == [*(f"{name}/" for name in CODE), "requirements/runtime.txt"]
    last = [step.value for step in STEPS if step.keyword in ("ARG", "LABEL")][-4:]
    assert [value.partition("=")[0] for value in last[:3]] == ["GIT_COMMIT", "REQUIREMENTS", "CODE"]


def test_the_packages_are_made_from_the_pins_and_nothing_else():
    """So that a change of another file next to them does not install gigabytes again."""
    line = next(step.value for step in STEPS if "pip install" in step.value)
    read = set(re.findall(r"/tmp/(requirements/\w+\.txt)", line))
    read |= {f"requirements/{extra}.txt" for extra in re.findall(r"echo (\w+)", line)}
    (copied,) = (step for step in STEPS if step.value.endswith(" /tmp/requirements/"))
    assert set(copied.value.split()[:-1]) == read


def test_the_three_uses(tmp_path):
    """A worker gets options alone, a step and a person whole commands."""
    start = next(step for step in STEPS if step.document)
    assert start.value == "/usr/local/bin/start"
    program = tmp_path / "start"
    program.write_text(start.document.replace("/opt/apache/beam/boot", "echo boot"))
    for arguments, said in (
        (["--id=1", "--provision_endpoint=x"], "boot --id=1 --provision_endpoint=x"),
        (["echo", "--a"], "--a"),
    ):
        done = subprocess.run(["sh", program, *arguments], capture_output=True, text=True)
        assert done.stdout.strip() == said


def test_no_credentials_go_in():
    assert not re.search(r"(?i)token|secret|password|credential|netrc|index-url", DOCKERFILE)
    ignore = (PROJECT / ".dockerignore").read_text().split()
    assert ignored(Path(".git/config"), ignore)
    assert ignored(Path("components/conversion/__pycache__/x.pyc"), ignore)
    assert ignored(Path("tests/data/x"), ignore)
    assert not ignored(Path("components/trainer.py"), ignore)


def test_an_instruction_that_is_not_known_is_refused():
    """The proof of the image reads this file, and must not pass over anything in it."""
    with pytest.raises(ValueError, match="ONBUILD"):
        instructions("FROM a\nONBUILD RUN b\n")
    with pytest.raises(ValueError, match="mount"):
        instructions("RUN --mount=type=cache,target=/c pip install x\n")


def test_lines_documents_and_variables():
    steps = instructions(
        "# c\nARG A=1\nRUN a \\\n  # not this\n  && b\nCOPY --from=x --chmod=755 <<'E' /f\none\nE\n"
    )
    assert [(step.keyword, step.value) for step in steps] == [
        *(("ARG", "A=1"), ("RUN", "a && b"), ("COPY", "/f"))
    ]
    assert steps[2].flags == {"from": "x", "chmod": "755"}
    assert steps[2].document == "one\n"
    assert fill_in("$A-${B}-$C", {"A": "1", "B": "2"}) == "1-2-"
    assert assignments('A=1 B="2 3"') == {"A": "1", "B": "2 3"}


def test_workers_use_the_images_packages():
    assert "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1" in DOCKERFILE
    assert "TF_USE_LEGACY_KERAS" not in DOCKERFILE


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_a_device_adds_to_the_pinned_packages_and_changes_none(device):
    runtime = pins("runtime")
    for package, version in pins(device).items():
        assert runtime.get(package, version) == version


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (PROJECT / "requirements").glob("*.in"))
)
def test_every_package_is_installed_as_it_was_pinned(name):
    text = (PROJECT / "requirements" / f"{name}.txt").read_text()
    packages = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert packages
    for package in packages:
        assert re.match(r"[\w.\[\],-]+==\S+", package), package
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", package), package
    assert "//" not in text, "an address"


def test_every_installation_asks_for_the_hashes():
    commands = [step.value for step in STEPS if "pip install" in step.value]
    assert len(commands) == 2
    assert all("--require-hashes" in command for command in commands)


def test_the_image_lists_all_that_is_installed_in_it():
    """The list of components lies in the folder that the image takes over whole."""
    (install,) = (s.value for s in STEPS if s.keyword == "RUN" and "/opt/venv/bin/pip" in s.value)
    (listing,) = (s.value for s in STEPS if s.keyword == "RUN" and "cyclonedx-py" in s.value)
    assert re.search(r"--output-format JSON --output-file /opt/venv/sbom\.cdx\.json ", listing)
    # The same files, the device's too, and none of the list's own environment.
    extra = re.compile(r"extra=\S+\$\(case .* esac\)\.txt")
    assert extra.search(listing)[0] == extra.search(install)[0]
    joined = re.search(r"&& cat (\S+) \"\$extra\" > (\S+) && (\S+) requirements .* (\S+)$", listing)
    assert joined[1] in install
    assert joined[2] == joined[4]
    assert not joined[3].startswith("/opt/venv")
    assert re.search(r"(?m)^COPY --from=packages /opt/venv /opt/venv$", DOCKERFILE)
    assert {"cyclonedx-bom", "pip-audit"} <= pins("audit").keys()


def test_a_digest_is_passed_on_only_where_one_was_read(tmp_path, monkeypatch):
    assert not any("DIGEST" in name for name in image_identity.image_digests(tmp_path / "none"))
    read = tmp_path / "images.json"
    digest = f"sha256:{'0' * 64}"
    read.write_text(json.dumps({"BEAM_DIGEST": {"image": "x", "digest": digest}}))
    assert image_identity.image_digests(read) == {"BEAM_DIGEST": f"@{digest}"}
    read.write_text(json.dumps({"BEAM_DIGEST": {"image": "x", "digest": "latest"}}))
    with pytest.raises(ValueError, match="no digest"):
        image_identity.image_digests(read)
