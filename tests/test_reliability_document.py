"""No promise of docs/reliability.md is without its test."""

import ast
import re
from pathlib import Path

import pytest

from tests.fuzz.borders import BORDERS

PROJECT = Path(__file__).parents[1]
ROWS = [
    line
    for line in (PROJECT / "docs/reliability.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| tried"))
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rpartition("::")[2].strip("` |"))
def test_each_row_names_a_test_that_is_there(row):
    path, name = re.search(r"`(tests/[\w/]+\.py)::(\w+)` \|$", row).groups()
    body = ast.parse((PROJECT / path).read_text()).body
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    assert name.startswith("test_")
    assert name in functions
    marks = [ast.unparse(mark) for mark in functions[name].decorator_list]
    assert not any(re.match(r"pytest\.mark\.(skip|xfail)\b", mark) for mark in marks)
    # What `make test` leaves out is told with what runs it.
    if left_out := {"large", "distributed"} & {mark.removeprefix("pytest.mark.") for mark in marks}:
        assert any(f"`make test-{mark}`" in row for mark in left_out)


def test_every_border_is_in_its_row():
    (row,) = (row for row in ROWS if "::test_damaged_inputs_are_taken_or_named`" in row)
    number, names = re.search(r"inputs at (\w+) borders: ([^|]+) \|", row).groups()
    assert number == ["seven", "eight", "nine"][len(BORDERS) - 7]
    told = re.sub(r" \([^)]*\)", "", names).lower().split(", ")
    assert [name.partition(" ")[0] for name in told] == list(BORDERS)
