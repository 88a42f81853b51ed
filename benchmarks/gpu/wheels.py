"""Fetches the packages that `gpu.sh` needs besides JAX and numpy, as wheels, for another machine.

    python -m benchmarks.gpu.wheels --python=3.12 --output=build/gpu/wheels

In the versions of requirements/runtime.txt, for Linux on x86-64.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

_PINS = Path(__file__).parents[2] / "requirements/runtime.txt"
# Keras and what it imports; ml-collections for the configs; etils for files; rich for the progress
# line; hotcoco for AP.
_PACKAGES = (
    *("keras", "namex", "optree", "absl-py", "h5py", "packaging"),
    *("rich", "markdown-it-py", "mdurl", "pygments"),
    *("ml-collections", "pyyaml"),
    *("etils", "fsspec", "typing-extensions", "zipp"),
    "hotcoco",
)
# pip takes each of these names literally.
_PLATFORMS = (
    *("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64"),
    *("manylinux2014_x86_64", "manylinux_2_5_x86_64", "manylinux1_x86_64"),
)


def pins(text: str) -> list[str]:
    """The requirements of `_PACKAGES` among those of a file.

    Raises:
      ValueError: one is missing there.
    """
    found = dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", text, re.MULTILINE))
    missing = [name for name in _PACKAGES if name not in found]
    if missing:
        raise ValueError(f"{_PINS.name} pins no {', '.join(missing)}")
    return [f"{name}=={found[name]}" for name in _PACKAGES]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default="3.12", help="version of the other machine's Python")
    parser.add_argument("--output", type=Path, required=True, help="folder of the wheels")
    given = parser.parse_args(arguments)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={given.python}"]
    command += [f"--platform={platform}" for platform in _PLATFORMS]
    command += ["--dest", str(given.output), *pins(_PINS.read_text())]
    status = subprocess.run(command).returncode
    if status == 0:
        size = sum(wheel.stat().st_size for wheel in given.output.glob("*.whl")) / 1e6
        print(f"{given.output}: {len(_PACKAGES)} wheels, {size:.0f} MB")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
