"""What fits a pattern, held against Python's own `glob` on folders of this machine."""

import glob
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix2seq_model.data.path_pattern import PathPattern, has_wildcards
from pix2seq_model.errors import ConfigError

NAMES = ["a", "b.jpg", "ab", "x[1]", "c.png"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)
PARTS = st.sampled_from(["*", "**", "?", "a*", "*.jpg", "[ab]*", "[!a]", "x[[]1]", "a", "["])


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Every path of up to three names, the last of them a file."""
    root = tmp_path_factory.mktemp("tree")
    for first in NAMES[:3]:
        for second in NAMES[1:4]:
            (root / f"{first}_/{second}_").mkdir(parents=True)
            for folder in (root, root / f"{first}_", root / f"{first}_/{second}_"):
                for name in NAMES:
                    (folder / name).touch()
    return root


@given(st.lists(PARTS, min_size=1, max_size=4).filter(lambda parts: has_wildcards(parts[0])))
def test_as_glob(tree, parts):
    pattern = PathPattern("/".join(parts))
    everything = {
        os.path.relpath(os.path.join(folder, name), tree)
        for folder, _, names in os.walk(tree)
        for name in names
    }
    theirs = glob.glob(str(pattern), root_dir=tree, recursive=True)
    files = {name.rstrip("/") for name in theirs} & everything
    assert {path for path in everything if pattern.fits(path)} == files
    for path in files:
        folder = path
        while folder := os.path.dirname(folder):
            assert pattern.leads_into(folder)


@given(PATHS)
def test_a_pattern_leads_nowhere_else(path):
    assert not PathPattern("q*/a").leads_into(path)
    assert PathPattern("**/a").leads_into(path)
    assert not PathPattern("*").leads_into(path)


@pytest.mark.parametrize(
    ("place", "root", "start", "literal"),
    [
        ("*.jpg", ".", "", ""),
        ("./*.jpg", ".", "./", "./"),
        ("/*/a.jpg", "/", "/", "/"),
        ("p/2026-*/**", "p", "p/", "p/2026-"),
        ("p//x?/", "p", "p//", "p//x"),
        ("gs://b/*.jpg", "gs://b", "gs://b/", "gs://b/"),
        ("gs://b/p/a[12]/x.jpg", "gs://b/p", "gs://b/p/", "gs://b/p/a"),
    ],
)
def test_what_is_fixed(place, root, start, literal):
    pattern = PathPattern(place)
    assert (pattern.root, pattern.start, pattern.literal) == (root, start, literal)
    assert str(pattern) == place


def test_an_ending_that_all_files_have():
    assert [PathPattern(p).names_an_ending for p in ("*.heic", "a/*/x?.JPG")] == [True, True]
    assert not any(PathPattern(p).names_an_ending for p in ("*", "**", "a*", "*.*", "*.jp*"))


def test_hidden_files_that_are_meant():
    def means(place, path):
        return PathPattern(place).means_hidden(path)

    for place, path in ((".h*", ".hid"), ("*/.h*/x", "a/.hid"), ("**/.?", "a/b/.c")):
        assert means(place, path)
    assert means("**/@eaDir/*", "a/@eaDir")
    for place, path in (("*", ".hid"), ("[.]h*", ".hid"), (".h*", ".b"), (".*/*", ".a/.b")):
        assert not means(place, path)
    assert not means("@ea*", "@eaDir")


def test_patterns_that_cannot_be():
    with pytest.raises(ConfigError, match=r"a\*\*\.jpg write \*\*/a\*\.jpg"):
        PathPattern("p/a**.jpg")
    for place in ("gs://*/x.jpg", "gs://b*/x.jpg"):
        with pytest.raises(ConfigError, match="a bucket cannot be a pattern"):
            PathPattern(place)
