"""Inputs that are nearly right: a whole one, with a few pieces changed, lost, doubled or put in."""

from collections.abc import Sequence

from hypothesis import strategies as st

# What parsers have stumbled over: ends of ranges, depth, signs, escapes, paths that lead out.
_PIECES = (
    *(
        b"\x00",
        b"\xff" * 4,
        b"\x7f\xff\xff\xff",
        b"\x80\x00\x00\x00",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
    ),
    *(b"[" * 300, b"{" * 120, b'"', b"\\", b"\\ud800", b"\x1b[2J", b"NaN", b"-Infinity", b"1e999"),
    *(
        b"9" * 5000,
        b"-1",
        b"0.5",
        b"null",
        b"true",
        b"{}",
        b"[]",
        b'""',
        b",",
        b":",
        b"\r\n",
        b"\n",
    ),
    *(
        b"../../x",
        b"/etc/passwd",
        b"gs://x/y",
        b"a" * 300,
        b" " * 100,
        b"PK\x01\x02",
        b"PK\x05\x06",
    ),
)


@st.composite
def damaged(draw: st.DrawFn, wholes: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """One of some whole inputs with up to six changes; `words` are pieces of its own format."""
    data = bytearray(draw(st.sampled_from(wholes)))
    # The format's own are few, and lead further in.
    pieces = st.one_of(
        *([st.sampled_from(list(words))] if words else []),
        *(st.sampled_from(_PIECES), st.binary(max_size=8)),
    )
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.sampled_from([0, 1, 1, 2, 4, 8, 30, 500]))
        match draw(
            st.sampled_from(["replace", "replace", "insert", "remove", "double", "cut", "bit"])
        ):
            case "replace":
                piece = draw(pieces)
                data[at : at + (size or len(piece))] = piece
            case "insert":
                data[at:at] = draw(pieces)
            case "remove":
                del data[at : at + size]
            case "double":
                data[at:at] = data[at : at + size] * draw(st.sampled_from([1, 2, 50]))
            case "cut":
                del data[at:]
            case "bit" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)
