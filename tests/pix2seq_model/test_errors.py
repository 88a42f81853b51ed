"""A value in a message is short, however large it is."""

import re
from pathlib import Path

import pytest

from pix2seq_model.errors import shown


@pytest.mark.parametrize("value", ["a", 1, 1.5, None, [1, "b"], {"id": 3}, True, "x" * 70])
def test_a_short_one_is_as_python_writes_it(value):
    assert shown(value) == repr(value)


def test_what_stands_for_gigabytes_is_shown_at_once():
    """Written out it would be 10**30 characters."""
    value = ["lol"] * 10
    for _ in range(29):
        value = [value] * 10
    assert shown(value).startswith("[[[")
    named = {"a": value, "b": value}
    assert len(shown(named)) <= 80


def test_long_texts_and_numbers_are_cut():
    assert shown("x" * 10**6) == "'" + "x" * 79
    assert shown("x" * 10**6, 40) == "'" + "x" * 39
    assert shown(1 << 100_000) == "a number of 30,103 digits"
    assert shown([1 << 100_000]) == "[a number of 30,103 digits]"
    assert shown(list(range(10**6))) == "[0, 1, 2, 3, 4, 5, ...]"


def test_no_code_writes_a_value_out_to_cut_it():
    project = Path(__file__).parents[2]
    for room in ("pix2seq_model", "components", "pipelines"):
        for path in (project / room).rglob("*.py"):
            code = re.sub(r'"""(?s:.*?)"""', "", path.read_text())
            assert not re.search(r"\{[^{}]*![rs]:\.\d+\}", code), path


def test_one_that_holds_itself():
    value = []
    value.append(value)
    assert len(shown(value)) <= 80
