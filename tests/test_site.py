"""The documents as a site: it is built without a warning, and needs nothing from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
# What a browser loads by itself; a link is followed by a person.
_LOADED = re.compile(
    r"<(?:script|img|iframe)\b[^>]*\bsrc=\"(https?:)?//|<link\b[^>]*https?://[^>]*>"
)


def _build(folder: Path, *, config: Path = ROOT / "mkdocs.yml"):
    return subprocess.run(
        [
            *(sys.executable, "-m", "mkdocs", "build", "--strict"),
            *(f"--site-dir={folder}", f"--config-file={config}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "site"
    done = _build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_document_is_a_page(site):
    for document in (ROOT / "docs").glob("*.md"):
        assert (site / f"{document.stem}.html").is_file(), document.name
    home, benchmarks = ((site / f"{name}.html").read_text() for name in ("index", "benchmarks"))
    assert 'href="own_data.html"' in home
    assert 'href="benchmarks.html#a-bucket"' in (site / "cloud.html").read_text()
    assert 'id="a-bucket"' in benchmarks
    assert (site / "tutorial.ipynb").is_file()


def test_blocks_are_blocks(site):
    """A fence that the site does not know would be text, with what follows it."""
    for page in site.rglob("*.html"):
        assert "```" not in page.read_text(), page.name


def test_the_interface_is_described_by_the_code(site):
    page = (site / "api.html").read_text()
    for name in ("api.load", "api.Model.predict", "prediction.results.Result.to_coco"):
        assert f'id="pix2seq_model.{name}"' in page
    assert "boxes_xyxy" in page
    assert "batch_size" in (site / "settings.html").read_text()
    assert "image/encoded" in (site / "record_format.html").read_text()


def test_an_attribute_is_described_by_itself(site):
    """`a, b: what they are` would be one row, called `a,`."""
    for page in site.rglob("*.html"):
        assert not re.findall(r"<code>\w+,</code>|>\w+,</span>", page.read_text()), page.name


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = re.sub(r"<link rel=\"canonical\"[^>]*>", "", page.read_text())
        assert not _LOADED.search(text), (page.name, _LOADED.search(text))
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text()), style.name


def test_a_link_to_nowhere_is_found(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# Home\n\n[gone](gone.md) [part](#nowhere)\n")
    settings = yaml.unsafe_load((ROOT / "mkdocs.yml").read_text())
    kept = {name: settings[name] for name in ("site_name", "validation")}
    (tmp_path / "mkdocs.yml").write_text(yaml.dump(kept))
    done = _build(tmp_path / "site", config=tmp_path / "mkdocs.yml")
    assert done.returncode != 0
    assert "gone.md" in done.stderr
    assert "#nowhere" in done.stderr
