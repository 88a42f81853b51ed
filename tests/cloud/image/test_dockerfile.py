"""What the Dockerfile alone says; it is carried out by `make test-image`."""

from pathlib import Path

from tests.cloud.image.dockerfile import assignments, instructions

DOCKERFILE = Path(__file__).resolve().parents[3] / "Dockerfile"


def test_the_driver_that_a_platform_mounts_is_found():
    variables = {}
    for step in instructions(DOCKERFILE.read_text()):
        if step.keyword == "ENV":
            variables |= assignments(step.value)
    assert "/usr/local/nvidia/lib64" in variables["LD_LIBRARY_PATH"].split(":")
    assert "/usr/local/nvidia/bin" in variables["PATH"].split(":")
    assert variables["PATH"].startswith("/opt/venv/bin:")
