"""What messages call arguments, in Python and on a command line."""

import pytest

from pix2seq_model.argument_names import argument, argument_name, called_as_flags


def test_a_program_is_told_the_argument():
    assert argument("trust", True) == "trust=True"
    assert argument("tile", 640) == "tile=640"
    assert argument("categories") == "categories=..."
    assert argument_name("precision") == "precision"


def test_a_command_is_told_its_flag():
    with called_as_flags(["trust", "tile", "categories", "precision"]):
        assert argument("trust", True) == "--trust"
        assert argument("tile", 640) == "--tile=640"
        assert argument("categories") == "--categories=..."
        assert argument_name("precision") == "--precision"
        assert argument("overlap", 2) == "overlap=2"  # It has no such flag.


def test_what_comes_after_a_command_is_python_again():
    with pytest.raises(KeyError), called_as_flags(["tile"]):
        raise KeyError
    assert argument_name("tile") == "tile"
