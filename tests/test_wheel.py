"""The wheel holds the four rooms with every file in them."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("pipelines", "components", "pix2seq_model", "configs")


def test_the_wheel_holds_every_file(tmp_path):
    source = tmp_path / "source"
    for room in ROOMS:
        shutil.copytree(
            ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    shutil.copy(ROOT / "pyproject.toml", source)
    expected = {
        str(path.relative_to(source))
        for room in ROOMS
        for path in (source / room).rglob("*")
        if path.is_file()
    }

    built = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel"),
            *("--no-deps", "--no-index", "--no-build-isolation", f"--wheel-dir={tmp_path}"),
            str(source),
        ],
        capture_output=True,
        text=True,
    )

    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert "pix2seq_model/reports/templates/report.html" in held
    assert "pix2seq_model/web_demo/page/index.html" in held
    assert held == expected


def test_an_installation_replaces_what_the_pinned_environment_replaces():
    lines = (ROOT / "requirements/overrides.txt").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert project["tool"]["uv"]["override-dependencies"] == wanted
