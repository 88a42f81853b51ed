import collections

import pytest

from components.storage.notes import read_note, write_note

CONTENT = {
    "shard": 3,
    "counts": collections.Counter(a=1, b=2),
    "seconds": 0.1,
    "name": "ä",
    "nothing": None,
    "rows": [[1, 2.5]],
}


def test_a_note_is_read_back(tmp_path):
    assert read_note(str(tmp_path), "progress/x.json") == {}
    write_note(str(tmp_path), "progress/x.json", CONTENT)
    assert read_note(str(tmp_path), "progress/x.json") == CONTENT


def test_no_damaged_note_is_believed(tmp_path):
    """Whatever byte of it is another one, and wherever it was cut."""
    write_note(str(tmp_path), "x.json", CONTENT)
    path = tmp_path / "x.json"
    whole = path.read_bytes()
    for at in range(len(whole)):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            assert read_note(str(tmp_path), "x.json") == {}, damaged


@pytest.mark.parametrize("text", [b"{}", b"[1]", b"[" * 200_000, b'{"a": ' + b"7" * 5000 + b"}"])
def test_no_other_json_is_a_note(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text)
    assert read_note(str(tmp_path), "x.json") == {}
