"""Text from outside, as it may be shown: file names and labels cannot command a terminal.

A name may hold what a terminal obeys: it clears the screen, colours a refusal green, writes over
the line above, or types an answer. What is written to standard output and error goes through
`printable`; only the escapes that rich makes itself pass.
"""

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

# Controls but tab and line feed, lone surrogates, and what turns the direction of the text around
# it or is not seen at all (Unicode technical report 36, section 3.2).
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff"
    "\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    r"""The text with what a terminal would obey written out: an escape is `\x1b`."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


class PrintableStream:
    """A text stream, standard output say, to which only `printable` text is written."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Writes; returns the number of characters that were given."""
        self.stream.write(printable(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """As any stream's."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def printable_stream(stream: TextIO) -> TextIO:
    """The stream as a `PrintableStream`, which it may be already."""
    return stream if isinstance(stream, PrintableStream) else cast(TextIO, PrintableStream(stream))


def guard_standard_streams() -> None:
    """Whatever this process prints from now on is `printable`."""
    sys.stdout = printable_stream(sys.stdout)
    sys.stderr = printable_stream(sys.stderr)


def make_console(stream: TextIO | None = None, **options: Any) -> "Console":
    """Rich's console, by default for standard output; its own escapes pass, texts' do not."""
    from rich.console import Console  # Takes a while.
    from rich.segment import Segment

    class PrintableConsole(Console):
        def render(self, *given: Any, **named: Any) -> Iterable[Segment]:
            for text, style, control in super().render(*given, **named):
                yield Segment(text if control else printable(text), style, control)

    stream = sys.stdout if stream is None else stream
    inner = stream.stream if isinstance(stream, PrintableStream) else stream
    return PrintableConsole(file=inner, **options)
