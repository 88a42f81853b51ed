"""The images that the Dockerfile starts from, as close as possible without Docker.

`python:X.Y-slim-SUITE` is Debian's SUITE with its own Python X.Y (debootstrap), where Docker's has
one built from source. `apache/beam_pythonX.Y_sdk:VERSION` is Beam's worker program of that version,
built as a Go module, and nothing else of that image.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.cloud.image.container import run_in
from tests.runners.install import go_install

BOOT_MODULE = "github.com/apache/beam/sdks/v2/python/container"
_PYTHON = re.compile(r"python:(\d+\.\d+)-slim-(\w+)$")
_BEAM = re.compile(r"apache/beam_python\d+\.\d+_sdk:(\d+\.\d+\.\d+)$")
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


class NotHere(Exception):  # noqa: N818
    """What the proof needs is not on this machine; says what."""


def build_boot(output: Path, version: str) -> Path:
    """Beam's worker program, `/opt/apache/beam/boot` of its images.

    Raises:
      NotHere: it cannot be built.
    """
    output.mkdir(parents=True, exist_ok=True)
    found = go_install(BOOT_MODULE, version=version, output=output)
    if "missing" in found:
        raise NotHere(f"Beam's worker program cannot be built: {found['missing']}")
    return Path(found["path"])


def make_base(reference: str, root: Path) -> None:
    """Makes the file system of a base image in `root`, which is absent.

    Raises:
      NotHere: a tool is missing.
      ValueError: there is no way to make this image here.
    """
    if match := _PYTHON.match(reference):
        _debian_with_python(root, version=match[1], suite=match[2])
    elif match := _BEAM.match(reference):
        boot = build_boot(root.parent, match[1])
        target = root / "opt" / "apache" / "beam" / "boot"
        target.parent.mkdir(parents=True)
        shutil.copy2(boot, target)
    else:
        raise ValueError(f"there is no way to make the image {reference} without Docker")


def _debian_with_python(root: Path, *, version: str, suite: str) -> None:
    if shutil.which("debootstrap") is None:
        raise NotHere("no debootstrap command (apt-get install debootstrap)")
    python = f"python{version}"
    # What Docker's image has and Debian's smallest one lacks. The headers are there for the one
    # package that is compiled.
    packages = ("ca-certificates", python, f"{python}-venv", f"{python}-dev")
    subprocess.run(
        # In a mount namespace: should it fail, nothing that it mounted stays.
        ["unshare", "--mount", "debootstrap", "--variant=minbase", suite, str(root)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    install = (
        f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(packages)} "
        "&& rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb"
    )
    run_in(root, ["sh", "-c", install], env={"DEBIAN_FRONTEND": "noninteractive"})
    for name in ("python", "python3", python):
        (root / "usr" / "local" / "bin" / name).symlink_to(f"/usr/bin/{python}")
    # A machine that reaches the network through a certificate of its own passes it on.
    if own := os.environ.get("SSL_CERT_FILE"):
        shutil.copyfile(own, root / _CERTIFICATES)
