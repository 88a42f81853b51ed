"""What a terminal would obey in a name is written out, by every way of showing it."""

import contextlib
import io
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from pix2seq_model.progress import LiveLine
from pix2seq_model.terminal import guard_standard_streams, make_console, printable

HOSTILE = {
    "\x1b[2J\x1b[31mgone": r"\x1b[2J\x1b[31mgone",
    "a\rb\x08\x07": r"a\rb\x08\x07",
    "\x9b31m\x90q": r"\x9b31m\x90q",
    "\u202egnp.exe": r"\u202egnp.exe",
    "\udce4": r"\udce4",
    "\U000e0041": r"\U000e0041",
}


@pytest.mark.parametrize(("name", "shown"), HOSTILE.items(), ids=HOSTILE.values())
def test_what_a_terminal_obeys_is_written_out(name, shown):
    assert printable(f"x {name} y") == f"x {shown} y"


@pytest.mark.parametrize("name", ["Zürich", "北京 犬", "टोपी", "a\tb\n", "👩‍🔬", "\\x1b", "naïve"])
def test_names_in_any_script_stay(name):
    assert printable(name) == name


@settings(max_examples=50)
@given(st.text())
def test_it_can_be_written_anywhere_and_once_is_enough(text):
    once = printable(text)
    once.encode("utf-8")
    assert printable(once) == once
    assert all(ord(character) >= 32 or character in "\t\n" for character in once)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("name", HOSTILE)
def test_prints_tables_and_live_lines(name, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    out, err = sys.stdout, sys.stderr
    guard_standard_streams()
    guard_standard_streams()
    print(name, file=sys.stdout)
    table = Table(title=name)
    table.add_row(name)
    console = make_console(width=80)
    console.print(table)
    console.print(name, markup=False)
    console.print(Text(name))
    live = LiveLine()
    assert live.is_live
    live.show(name)
    live.message(name)
    live.close()
    for text in (out.getvalue(), err.getvalue()):
        assert HOSTILE[name] in text
        # What rich itself writes: colours, and moves of the cursor that hold no other character.
        assert name not in text
        assert "[2J" not in text.replace(r"\x1b[2J", "")


def test_rich_keeps_its_own_colours():
    stream = Terminal()
    console = make_console(stream, force_terminal=True, color_system="standard", _environ={})
    console.print("[red]x[/red]")
    assert "\x1b[31mx" in stream.getvalue()


def test_streams_are_used_as_before(tmp_path):
    with (tmp_path / "out").open("w") as file, contextlib.redirect_stdout(file):
        guard_standard_streams()
        sys.stdout.writelines(["a\x1b", "b\n"])
        assert sys.stdout.fileno() == file.fileno()
        sys.stdout.flush()
    assert (tmp_path / "out").read_text() == "a\\x1bb\n"
