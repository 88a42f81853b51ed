"""The image must agree with the pinned file; Docker itself is not at hand in the tests."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
DOCKERFILE = (PROJECT / "Dockerfile").read_text()


def pinned(package: str) -> str:
    lines = (PROJECT / "requirements" / "runtime.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{package}==")).partition("==")[2]


def test_the_workers_beam_is_the_pinned_one():
    assert re.search(r"ARG BEAM_VERSION=(\S+)", DOCKERFILE)[1] == pinned("apache-beam")


def test_every_stage_has_the_same_python():
    versions = re.findall(r"FROM (?:python:|apache/beam_python)(\d+\.\d+)", DOCKERFILE)
    assert versions == ["3.11", "3.11", "3.11"]


def test_all_code_is_in_the_image():
    copied = set(re.findall(r"^COPY (\w+)/ \1/$", DOCKERFILE, re.MULTILINE))
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests"}
    assert copied == packages


def test_workers_use_the_images_packages():
    assert "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1" in DOCKERFILE
    assert "TF_USE_LEGACY_KERAS" not in DOCKERFILE


def test_cuda_adds_to_the_pinned_packages_and_changes_none():
    runtime = dict(
        line.split("==")
        for line in (PROJECT / "requirements" / "runtime.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    for line in (PROJECT / "requirements" / "cuda.txt").read_text().splitlines():
        if "==" in line and not line.startswith("#"):
            package, _, version = line.partition("==")
            assert runtime.get(package, version) == version
