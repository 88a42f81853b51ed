"""What a container image of this project was built from; the image carries it as labels.

    python pipelines/image_identity.py      prints the arguments for `docker build`

Needs Python's standard library only.
"""

import hashlib
import json
import re
import subprocess
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
# Written by requirements/pin_images.py where a registry can be reached.
_IMAGES = _ROOT / "requirements" / "images.json"
_CODE = ("components", "configs", "pipelines", "pix2seq_model")
REQUIREMENTS_LABEL = "pix2seq.requirements"
CODE_LABEL = "pix2seq.code"


def requirements_digest() -> str:
    """Identity of the pinned packages."""
    return _digest([_ROOT / "requirements" / "runtime.txt"])


def code_digest() -> str:
    """Identity of the code and the configs."""
    files = (path for folder in _CODE for path in (_ROOT / folder).rglob("*"))
    return _digest(
        sorted(path for path in files if path.is_file() and "__pycache__" not in path.parts)
    )


def _digest(files: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes())
    return whole.hexdigest()[:16]


def build_arguments() -> dict[str, str]:
    """The Dockerfile's arguments that become labels, and the commit."""
    commit = ["git", "-C", str(_ROOT), "rev-parse", "HEAD"]
    git = subprocess.run(commit, check=False, capture_output=True, text=True)
    return {
        "REQUIREMENTS": requirements_digest(),
        "CODE": code_digest(),
        "GIT_COMMIT": git.stdout.strip(),
        **image_digests(),
    }


def image_digests(path: Path = _IMAGES) -> dict[str, str]:
    """The arguments that pin the base images, of those that requirements/pin_images.py has read.

    Raises:
      ValueError: the file holds what no registry says.
    """
    if not path.exists():
        return {}
    digests = {name: row["digest"] for name, row in json.loads(path.read_text()).items()}
    for name, digest in digests.items():
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise ValueError(f"{path}: {name} is no digest; run `make pin-images` again")
    return {name: f"@{digest}" for name, digest in digests.items()}


if __name__ == "__main__":
    print(" ".join(f"--build-arg={name}={value}" for name, value in build_arguments().items()))
