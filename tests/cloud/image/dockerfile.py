"""Reads a Dockerfile: its stages and their instructions, with variables filled in.

Knows the instructions that this project's file uses, and refuses every other one: a changed file is
carried out as it says, or not at all.
"""

import dataclasses
import fnmatch
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

KEYWORDS = ("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "LABEL", "RUN", "USER", "WORKDIR")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_HEREDOC = re.compile(r"<<'(\w+)'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction.

    Attributes:
      keyword: of `KEYWORDS`.
      flags: of COPY: `from`, `chmod`.
      value: what follows, as one line.
      document: the text of a here-document, or None.
    """

    keyword: str
    flags: Mapping[str, str]
    value: str
    document: str | None = None


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, in order.

    Raises:
      ValueError: something this reader does not know.
    """
    lines = iter(text.splitlines())
    found = []
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        while line.endswith("\\"):
            more = next(lines)
            while more.lstrip().startswith("#"):  # A comment may stand between continued lines.
                more = next(lines)
            line = f"{line[:-1].rstrip()} {more.strip()}"
        keyword, _, value = line.strip().partition(" ")
        if keyword not in KEYWORDS:
            raise ValueError(f"no instruction that can be carried out here: {line!r}")
        flags = {}
        while match := re.match(r"\s*--([\w-]+)=(\S+)\s+", value):
            if keyword not in ("COPY",) or match[1] not in ("from", "chmod"):
                raise ValueError(f"an option that is not known here: {line!r}")
            flags[match[1]] = match[2]
            value = value[match.end() :]
        document = None
        if keyword == "COPY" and (mark := _HEREDOC.search(value)):
            document = "".join(f"{row}\n" for row in iter(lambda: next(lines), mark[1]))
            value = value.replace(mark[0], "").strip()
        found.append(
            Instruction(keyword=keyword, flags=flags, value=value.strip(), document=document)
        )
    return found


def fill_in(value: str, variables: Mapping[str, str]) -> str:
    """Puts the values of $NAME and ${NAME} in; a name without a value is empty."""
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), value)


def assignments(value: str) -> dict[str, str]:
    """NAME=value NAME2="value 2" of ENV and LABEL."""
    return dict(part.split("=", 1) for part in shlex.split(value))


def ignored(path: Path, patterns: list[str]) -> bool:
    """Whether .dockerignore leaves out a path relative to the context, or a folder above it."""
    for part in (path, *path.parents):
        for pattern in patterns:
            # A pattern counts from the context's root; **/ stands for any folders above.
            if fnmatch.fnmatchcase(part.as_posix(), pattern.removeprefix("**/")):
                return True
            if pattern.startswith("**/") and fnmatch.fnmatchcase(part.name, pattern[3:]):
                return True
    return False
