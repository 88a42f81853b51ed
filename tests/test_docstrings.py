"""Docstrings as the site and editors read them: their sections are the end."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("pipelines", "components", "configs", "pix2seq_model")
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")


def _stray_line(docstring: str) -> str | None:
    """The first line that stands below a section without being of it: readers take it for one."""
    in_section = False
    for line in docstring.splitlines():
        if _SECTION.fullmatch(line):
            in_section = True
        elif in_section and line and not line.startswith(" "):
            return line
    return None


@pytest.mark.parametrize("room", ROOMS)
def test_no_text_stands_below_a_section_that_it_is_not_of(room):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    stray = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kinds)
        if (line := _stray_line(ast.get_docstring(node) or ""))
    ]
    assert stray == []


@pytest.mark.parametrize(
    ("docstring", "stray"),
    [
        ("Does.\n\nMore.\n\nArgs:\n  a: b\n    c\n\nRaises:\n  OSError: d", None),
        ("Does.\n\nArgs:\n  a: b\n\nMore.", "More."),
        ("Attributes:\na: b", "a: b"),
    ],
)
def test_the_check_sees_it(docstring, stray):
    assert _stray_line(docstring) == stray
