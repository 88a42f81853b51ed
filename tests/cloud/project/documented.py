"""The commands of docs/cloud.md, as a shell reads them."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "cloud.md"
_BLOCK = re.compile(
    r"^## (?P<section>[^\n]*)$|^```sh\n(?P<block>.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks() -> Iterator[tuple[str, str]]:
    """Each `sh` block of the document, in order, with the section that it stands in."""
    section = ""
    for found in _BLOCK.finditer(DOCUMENT.read_text()):
        if found["block"] is None:
            section = found["section"]
        else:
            yield section, found["block"]


def commands(program: str, text: str, environment: Mapping[str, str]) -> list[list[str]]:
    """The arguments of each call of a program in a script, loops and variables carried out.

    Args:
      program: whose calls; no other command but the shell's own is carried out.
      text: of the script.
      environment: variables that it finds.
    """
    note = f"{program}() {{ printf '%s\\0' \"$@\"; printf '\\n\\0'; }}; "
    done = subprocess.run(
        ["/bin/bash", "-euc", note + text],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "", **environment},
    )
    calls: list[list[str]] = [[]]
    for word in done.stdout.split("\0")[:-1]:
        if word == "\n":
            calls.append([])
        else:
            calls[-1].append(word)
    return calls[:-1]
