"""Installs the pinned packages and this project into a virtual environment of its own.

Runs with nothing but Python's standard library:

    python3.11 requirements/install.py --venv=.venv requirements/runtime.txt ...
"""

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

WANTED = (3, 11)
_AS_PINNED = ("--no-deps", "--require-hashes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("requirements", type=Path, nargs="+")
    arguments = parser.parse_args()

    if sys.version_info[:2] != WANTED:
        print(
            f"This project needs Python 3.11; {sys.executable} is Python "
            f"{sys.version_info.major}.{sys.version_info.minor}. TFX has no wheels for it.\n"
            "Install Python 3.11 and run: make PYTHON=/path/to/python3.11 <target>",
            file=sys.stderr,
        )
        return 2
    if sys.platform != "linux":
        print(
            f"The pinned wheels are for Linux (x86-64); this is {sys.platform}. Use a container.",
            file=sys.stderr,
        )
        return 2

    print(
        f"Installing the environment into {arguments.venv} (once): about 1 GB to download if "
        "nothing of it is cached, 3.5 GB on disk.",
        flush=True,
    )
    python = make_venv(arguments.venv)
    install(python, arguments.requirements)
    link_project(python)
    return 0


def make_venv(folder: Path) -> Path:
    python = folder.absolute() / "bin" / "python"
    if not python.exists():
        try:
            venv.create(folder, with_pip=True)
        except (subprocess.CalledProcessError, SystemExit):
            shutil.rmtree(folder, ignore_errors=True)
            sys.exit(
                f"{sys.executable} cannot make virtual environments. On Debian and Ubuntu: "
                "apt-get install python3.11-venv"
            )
    return python


def install(python: Path, requirements: list[Path]) -> None:
    """The pins are complete, so nothing is resolved: what the files say is what gets installed.

    A file whose bytes are not those that were pinned is refused, wherever it comes from.
    """
    files = [part for file in requirements for part in ("-r", str(file))]
    # uv is several times faster than pip; if it is not available, pip does the same.
    uv = shutil.which("uv")
    if uv is None:
        own = Path(__file__).with_name("uv.txt")
        pip = [str(python), "-m", "pip", "install", "--quiet", *_AS_PINNED, "-r", str(own)]
        if subprocess.run(pip, check=False).returncode == 0:
            uv = str(python.parent / "uv")
    if uv is not None:
        # Compiled once here; where Python may not write bytecode, each start of TensorFlow would
        # otherwise compile it again, for ten seconds and more.
        options = ["--python", str(python), *_AS_PINNED, "--compile-bytecode"]
        command = [uv, "pip", "install", *options, *files]
        if subprocess.run(command, check=False).returncode == 0:
            return
        print("uv could not install the packages; trying pip.", flush=True)
    pip = [str(python), "-m", "pip", "install", *_AS_PINNED, *files]
    if subprocess.run(pip, check=False).returncode:
        sys.exit("The packages could not be installed; pip's message above says why.")


def link_project(python: Path) -> None:
    """Puts this folder on the environment's path, so that edits count at once."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    link = Path(packages.stdout.strip()) / "pix2seq_pipeline.pth"
    link.write_text(f"{Path(__file__).resolve().parents[1]}{os.linesep}")


if __name__ == "__main__":
    sys.exit(main())
