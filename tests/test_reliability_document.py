"""No promise of docs/reliability.md is without its test."""

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
ROWS = [
    line
    for line in (PROJECT / "docs/reliability.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| tried"))
]


def test_each_row_names_a_test_that_is_there():
    assert ROWS
    for row in ROWS:
        path, name = re.search(r"`(tests/[\w/]+\.py)::(\w+)` \|$", row).groups()
        functions = ast.parse((PROJECT / path).read_text()).body
        assert name in {f.name for f in functions if isinstance(f, ast.FunctionDef)}, row
