"""Follows docs/tutorial.md: takes the commands out of the document and runs them as they stand.

    python -m tests.use.tutorial --exported=photographs --workplace=followed

runs them on a folder that a labelling tool exported, with the training that the tutorial has;
`--few_steps` makes it minutes. `--write_notebook` writes docs/tutorial.ipynb from the document.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "tutorial.md"
NOTEBOOK = DOCUMENT.with_suffix(".ipynb")
# What the tutorial calls the exported folder.
EXPORTED = "exported"
# Enough to write every file that is looked at; the model finds nothing of use.
FEW_STEPS = (
    *("--config.finetune.steps=6", "--config.finetune.image_size=64"),
    *("--config.finetune.batch_size=4", "--config.finetune.evaluate_every_steps=0"),
)
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
# The notebook's first cell. Jupyter starts in the folder of the notebook, and may have been started
# from another environment than its kernel's.
_START = """\
# The commands below are called from the project's folder, with the Python of this notebook.
import os
import sys
from pathlib import Path

folders = [Path.cwd(), *Path.cwd().parents]
projects = [folder for folder in folders if (folder / "pipelines").is_dir()]
if not projects:
    raise FileNotFoundError("open this notebook where it is, in the folder docs of the project")
os.chdir(projects[0])
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
"""
# "shell" is the installation, which whoever runs the commands has made already.
_RUN = ("sh", "python")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of the document, or the text between two of them.

    Attributes:
      kind: the language of a fenced block; "markdown" of what is between two of them.
      text: without the fences.
    """

    kind: str
    text: str


def blocks(document: str) -> list[Block]:
    """The document in its order; joined again with their fences they are the document."""
    found, end = [], 0
    for match in _FENCED.finditer(document):
        found.append(Block("markdown", document[end : match.start()]))
        found.append(Block(match[1], match[2]))
        end = match.end()
    return [*found, Block("markdown", document[end:])]


def runnable(document: str) -> list[Block]:
    """The commands and the Python lines, without the installation."""
    return [block for block in blocks(document) if block.kind in _RUN]


def with_options(command: str, options: tuple[str, ...]) -> str:
    """The command with further options where it is the one that trains."""
    if "run_pipeline.py" not in command:
        return command
    return " ".join([command.rstrip(), *options]) + "\n"


def make_workplace(folder: Path, exported: Path) -> None:
    """A folder in which the tutorial's paths lead to the commands and to the data."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("pipelines", "configs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / EXPORTED).symlink_to(exported.resolve())


def environment() -> dict[str, str]:
    """As after the tutorial's `source .venv/bin/activate`, with this Python and this tree."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PATH": paths, "PYTHONPATH": python_path, "TF_CPP_MIN_LOG_LEVEL": "2"}


def follow(workplace: Path, *, options: tuple[str, ...] = ()) -> list[str]:
    """Runs every command and the Python lines in `workplace`, in the document's order.

    Returns:
      What each printed, both streams together.

    Raises:
      RuntimeError: one of them failed, or a traceback was seen; with what it printed.
    """
    printed = []
    for block in runnable(DOCUMENT.read_text()):
        if block.kind == "sh":
            command = ["bash", "-euo", "pipefail", "-c", with_options(block.text, options)]
        else:
            command = [sys.executable, "-c", block.text]
        done = subprocess.run(
            command,
            cwd=workplace,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode or "Traceback" in done.stdout:
            raise RuntimeError(f"exit {done.returncode} of\n{block.text}\n{done.stdout}")
        printed.append(done.stdout)
    return printed


def notebook(document: str) -> str:
    """The document as a notebook, JSON text; the same document gives the same bytes.

    A first cell goes to the project's folder, from wherever below it Jupyter was started.
    """
    cells: list[dict[str, Any]] = []
    for block in [Block("python", _START), *blocks(document)]:
        text = block.text.strip("\n")
        if not text:
            continue
        is_code = block.kind in _RUN
        if block.kind == "sh":
            # An exclamation mark runs one command, whose output appears as it comes.
            text = f"!{text}"
        elif block.kind != "markdown" and not is_code:
            text = f"```{block.kind}\n{text}\n```"
        cell = {
            "cell_type": "code" if is_code else "markdown",
            "id": hashlib.sha256(f"{len(cells)} {text}".encode()).hexdigest()[:8],
            "metadata": {},
            "source": text.splitlines(keepends=True),
        }
        cells.append(cell | ({"execution_count": None, "outputs": []} if is_code else {}))
    content = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exported", type=Path, help="what a labelling tool wrote")
    parser.add_argument("--workplace", type=Path, help="folder to make and to work in")
    parser.add_argument("--few_steps", action="store_true", help="show that it runs, no more")
    parser.add_argument("--write_notebook", action="store_true", help=f"write {NOTEBOOK.name}")
    arguments = parser.parse_args()
    if arguments.write_notebook:
        NOTEBOOK.write_text(notebook(DOCUMENT.read_text()))
        return
    if not (arguments.exported and arguments.workplace):
        parser.error("give --exported and --workplace")
    started = time.monotonic()
    make_workplace(arguments.workplace, arguments.exported)
    for text in follow(arguments.workplace, options=FEW_STEPS if arguments.few_steps else ()):
        print(text, end="")
    print(f"the tutorial was followed to its end in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
