"""docs/architecture.md against the code: every name in it exists, and every call is made."""

import ast
import functools
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs/architecture.md").read_text()
ROOMS = ("pipelines", "components", "configs", "pix2seq_model")
NAME = re.compile(rf"`((?:{'|'.join(ROOMS)})(?:\.\w+)+)`")
# Beam, TFX and Keras call these by themselves.
CALLED_BY_A_FRAMEWORK = ("Do", "call", "run_fn", "main", "get_config")


def _module_and_rest(name: str) -> tuple[Path, list[str]]:
    """The file of a dotted name, and what is left of the name behind the module."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file, parts[end:]
    raise AssertionError(f"{name}: there is no such module")


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def _names_in(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    found: dict[str, ast.stmt] = {}
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = statement
    return found


def _exists(name: str) -> bool:
    file, rest = _module_and_rest(name)
    body = _tree(file).body
    for part in rest:
        definition = _names_in(body).get(part)
        if definition is None:
            return False
        body = definition.body
    return True


def _used_names(file: Path) -> set[str]:
    nodes = list(ast.walk(_tree(file)))
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {
        n.attr for n in nodes if isinstance(n, ast.Attribute)
    }


def _ways() -> dict[str, list[str]]:
    """The lists of calls by their heading."""
    ways = {}
    for section in DOCUMENT.split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        if heading.startswith("From "):
            ways[heading] = re.findall(r"^- `([\w.]+)`", text, re.MULTILINE)
    return ways


@pytest.mark.parametrize("name", sorted(set(NAME.findall(DOCUMENT))))
def test_a_name_exists(name):
    assert _exists(name), name


def test_there_are_three_ways():
    assert len(_ways()) == 3
    assert all(len(way) > 8 for way in _ways().values())


@pytest.mark.parametrize("way", list(_ways()))
def test_every_call_is_made_by_one_before_it(way):
    used: set[str] = set()
    for name in _ways()[way]:
        file, rest = _module_and_rest(name)
        called = rest[-1]
        used |= _used_names(file)
        assert called in used or called in CALLED_BY_A_FRAMEWORK, f"nothing calls {name}"


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+\.(?:py|toml))`", DOCUMENT))))
def test_a_file_exists(path):
    if path != "settings.py":
        assert (ROOT / path).is_file() or (ROOT / "pix2seq_model" / path).is_file(), path


def test_the_rooms_are_the_contract():
    block = DOCUMENT.split("never one on its own line:\n\n```\n")[1].split("```")[0]
    drawn = [set(re.split(r" {3}", line.split("    ")[0].strip())) for line in block.splitlines()]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (c["layers"] for c in contracts["contracts"] if c.get("containers"))
    assert drawn == [
        {room for room in layer.split(" | ") if not room.startswith("(")} for layer in layers
    ]
    there = {
        p.stem
        for p in (ROOT / "pix2seq_model").iterdir()
        if not p.name.startswith("_") and (p.is_dir() or p.suffix == ".py")
    }
    assert set().union(*drawn) == there


def test_modules_without_tests_of_their_name_are_listed():
    library = ROOT / "pix2seq_model"
    without = {
        str(path.relative_to(library))
        for path in library.rglob("*.py")
        if path.name != "__init__.py"
        and not (
            ROOT / "tests/pix2seq_model" / path.relative_to(library).with_name(f"test_{path.name}")
        ).is_file()
    }
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (\S.*) \|$", DOCUMENT, re.MULTILINE)
    assert dict(rows).keys() == without
    for _, reason in rows:
        for test in re.findall(r"`(tests/[\w/]+\.py)`", reason):
            assert (ROOT / test).is_file(), test
