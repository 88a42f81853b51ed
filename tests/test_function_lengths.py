"""A function fits a screen or two, and the one that a training is read by is shorter still."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("pipelines", "components", "configs", "pix2seq_model")
# Lines of code, without the docstring: two screens.
_MOST = 90
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    if ast.get_docstring(function) is None:
        return _lines(function)
    return _lines(function) - ((first.end_lineno or 0) - first.lineno + 1)


def _functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, _FUNCTIONS)]


@pytest.mark.parametrize("room", ROOMS)
def test_every_function_fits_two_screens(room):
    long = [
        f"{path.relative_to(ROOT)}: {function.name} has {_code_lines(function)} lines"
        for path in sorted((ROOT / room).rglob("*.py"))
        for function in _functions(path)
        if _code_lines(function) > _MOST
    ]
    assert long == []


def test_a_training_is_read_from_one_function():
    (train,) = (
        function
        for function in _functions(ROOT / "pix2seq_model/training/train.py")
        if function.name == "train"
    )
    assert _lines(train) <= 80  # With its arguments and its docstring.


def test_lines_are_counted_without_the_docstring():
    (function,) = ast.parse(
        'def f(\n    a,\n):\n    """One.\n\n    Two.\n    """\n    return a\n'
    ).body
    assert (_lines(function), _code_lines(function)) == (8, 4)
