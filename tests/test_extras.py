"""What an extra is for imports no package that the extra does not bring."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("pipelines", "components", "pix2seq_model", "configs")
_EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
# Packages that are imported by another name, or that those of an extra need themselves.
_BROUGHT_BY = {"PIL": "pillow", "absl": "absl-py", "google": "tensorflow", "h11": "uvicorn"}
_USES = {
    "predict": (
        "pipelines.predict",
        "pix2seq_model.api",
        "pix2seq_model.decoding.attention_reader",
        "pix2seq_model.prediction.image_detector",
        "pix2seq_model.prediction.served_detector",
        "pix2seq_model.published.import_checkpoint",
    ),
    "serve": (
        "pipelines.demo_server",
        "pix2seq_model.web_demo.model",
        "pix2seq_model.web_demo.server",
    ),
    "onnx": ("pix2seq_model.api", "pix2seq_model.onnx_runner.detector"),
}


def _packages(extra: str) -> set[str]:
    found: set[str] = set()
    for line in _EXTRAS[extra]:
        name, extras = re.match(r"([\w.-]+)(?:\[(.+?)\])?", line).groups()
        if name == "pix2seq-pipeline":
            found |= _packages(extras)
        found.add(name)
    return found


def _file(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    files = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in files if path.is_file()), None)


def _imported_at_once(body: list[ast.stmt]) -> Iterator[str]:
    """Not what functions import when they are called, nor what is for types alone."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
            yield from _imported_at_once([*node.body, *node.orelse])
        elif isinstance(node, ast.Try | ast.With):
            yield from _imported_at_once(node.body)


def _packages_imported(modules: tuple[str, ...]) -> dict[str, str]:
    """Packages from elsewhere, each with a module that imports it."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [(module, "") for module in modules]
    while waiting:
        module, by = waiting.pop()
        package = module.partition(".")[0]
        if package not in ROOMS:
            found.setdefault(package, by)
        elif module not in seen and (file := _file(module)) is not None:
            seen.add(module)
            parts = module.split(".")
            waiting += [(".".join(parts[:end]), by) for end in range(1, len(parts))]
            tree = ast.parse(file.read_text())
            waiting += [(name, module) for name in _imported_at_once(tree.body)]
    return {name: by for name, by in found.items() if name not in sys.stdlib_module_names}


@pytest.mark.parametrize("extra", _USES)
def test_an_extra_brings_what_its_use_imports(extra):
    imported = _packages_imported(_USES[extra])
    brought = {name.lower() for name in _packages(extra)}
    missing = {n: by for n, by in imported.items() if _BROUGHT_BY.get(n, n) not in brought}
    assert missing == {}
    assert len(imported) > 3


def test_a_package_of_another_extra_is_found():
    imported = _packages_imported(("pix2seq_model.metrics.coco_metrics", "pipelines.pipeline"))
    assert imported["tfx"].startswith("pipelines.")
    assert "tfx" not in _packages("predict")
