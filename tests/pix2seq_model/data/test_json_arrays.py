"""Arrays of JSON files as streams: what is read, and what is refused, in linear time."""

import io
import json
import math
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2seq_model.data import json_arrays
from pix2seq_model.data.json_arrays import MOST_DEPTH, read_array, top_level_keys
from pix2seq_model.errors import DataError

IMAGE = {"id": 7, "file_name": "a/b.jpg", "height": 3, "width": 4, "license": 1}
BOX = {"id": 5, "image_id": 7, "category_id": 2, "bbox": [0, 1.5, 2, 3], "area": 6, "iscrowd": 1}


def read(text, array="images"):
    data = text.encode() if isinstance(text, str) else text
    return list(read_array(io.BytesIO(data), array, path="x.json"))


class Slow(io.BytesIO):
    """Gives few bytes at a time, as a network may."""

    def __init__(self, text, most):
        super().__init__(text.encode())
        self._most = most
        self.num_read = 0

    def read(self, size=-1):
        read = super().read(min(size, self._most) if size > 0 else size)
        self.num_read += len(read)
        return read


def test_arrays_in_any_order():
    content = {"annotations": [BOX], "info": {"images": [1]}, "categories": [], "images": [IMAGE]}
    text = json.dumps(content)
    assert read(text) == [IMAGE]
    assert read(text, "annotations") == [BOX]
    assert read(text, "categories") == []
    assert top_level_keys(io.BytesIO(text.encode()), path="x.json") == list(content)


def test_a_list_without_a_name():
    assert read(' [{"a": [1]}, 2, {"images": [3]}]', "") == [{"a": [1]}, 2, {"images": [3]}]
    assert read("[[1], [2]]") == read("[]", "") == read('{"": 1}', "") == []
    assert top_level_keys(io.BytesIO(b"[[1, 2]]"), path="x.json") == []


def test_what_only_looks_like_the_key():
    text = r'{"a\"images": [1], "my images": [2], "b": "\"images\": [3]", "images": {"c": [4]}}'
    assert read(text) == []
    assert read(text[:-1] + ', "images" :\n[5]}') == [5]


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b" \r\n\t", b""])
@pytest.mark.parametrize("most", [1, 2, 1 << 20])
def test_what_may_be_in_front(start, most, monkeypatch):
    monkeypatch.setattr(json_arrays, "_CHUNK_BYTES", most)
    assert read(start + json.dumps({"images": [IMAGE]}).encode()) == [IMAGE]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 64])
def test_bare_nan_is_no_end(most):
    """Python's json writes NaN and Infinity, whatever piece of them a read ends with."""
    text = json.dumps({"annotations": [{"bbox": [math.nan, math.inf, -math.inf, 1], "s": "NaN,"}]})
    (row,) = read_array(Slow(text, most), "annotations", path="x")
    assert math.isnan(row["bbox"][0])
    assert row["bbox"][1:] == [math.inf, -math.inf, 1]
    assert row["s"] == "NaN,"


TEXTS = st.text(st.sampled_from('"\\,[]{}: né🙂\0N'), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.sampled_from(["images", "a", '"images"']) | TEXTS, st.lists(VALUES)),
    st.integers(5, 80),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_json_is_read_as_python_reads_it(content, most, indent, is_ascii):
    text = json.dumps(content, indent=indent, ensure_ascii=is_ascii)
    assert list(read_array(Slow(text, most), "images", path="x")) == content.get("images", [])
    assert top_level_keys(Slow(text, most), path="x") == list(content)
    items = content.get("images", [])
    text = json.dumps(items, indent=indent, ensure_ascii=is_ascii)
    assert list(read_array(Slow(text, most), "", path="x")) == items


@settings(deadline=None)
@given(st.data())
def test_broken_json_is_never_read_as_if_it_were_sound(data):
    """A byte more, less or changed: read as Python reads it, or refused."""
    text = json.dumps({"a": {"b": [1]}, "images": [{"id": 1, "c": ["x\\", -2.5]}, 3, "[,]"]})
    at = data.draw(st.integers(0, len(text) - 1))
    damage = data.draw(st.sampled_from(["", *'"\\,[]{}:0 n', text[at] * 2]))
    text = text[:at] + damage + text[at + 1 :]
    try:
        items = read(text)
    except DataError:
        return
    try:
        content = json.loads(text)
    except ValueError:
        # Only what is not asked for may be broken: here the content of "a".
        content = json.loads('{"a": 0' + text[text.index(', "images"') :])
    expected = content.get("images", []) if isinstance(content, dict) else []
    assert items == (expected if isinstance(expected, list) else [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [{"id": 1}, {"id": 2', "x.json: broken JSON after row 1 of 'images'.*again"),
        ('{"images": [{"id": 1}, 2, {"id" 3}]}', "after row 2 of 'images': Expecting ':'"),
        ('{"images": [}', "x.json: broken JSON while looking for 'images'"),
        ('{"images": []}}', "a bracket is closed that was not opened"),
        ('{"images": [{}] "a": 1}', "after row 1 of 'images': Expecting ',' delimiter"),
        ('{"images": [{},]}', "after row 1 of 'images'"),
        ('{"images": [{}' + " " * 2_000_000 + ",]}", "row 1 of 'images': nothing follows a comma"),
        ('{"images": [{} {}]}', "Expecting ',' delimiter"),
        ("no json", "x.json: broken JSON"),
        ("", "x.json: broken JSON"),
        (b'{"images": [{"id": "\xff\xfe"}]}', "x.json: broken JSON.*no UTF-8"),
        (r'{"images": [{"id": "\ud800"}]}', "half of its"),
        ('{"images": [{"id": ' + "7" * 5000 + "}]}", "thousands of digits"),
    ],
)
def test_broken_json_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        read(text)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("front", ['{"images": [', '{"info": ', ""])
def test_depth_is_bounded(opening, front):
    with pytest.raises(DataError, match="nested more than 100 levels deep"):
        read(front + opening * 100_000)
    nested: list = []
    for _ in range(MOST_DEPTH - 3):
        nested = [nested]
    assert read(json.dumps({"images": [nested]})) == [nested]


def test_long_items_are_bounded(monkeypatch):
    monkeypatch.setattr(json_arrays, "MOST_ITEM_BYTES", 300_000)
    monkeypatch.setattr(json_arrays, "_CHUNK_BYTES", 1 << 16)
    row = {"id": 1, "s": "\\n,]" * 50_000}
    assert read(json.dumps({"images": [row, row]})) == [row, row]
    for text in (
        json.dumps({"images": [IMAGE, {"s": "a" * 500_000}]}),
        '{"images": [{"id": 1}, {"s": "' + json.dumps([IMAGE] * 10_000),
    ):
        with pytest.raises(DataError, match=r"after row 1 of 'images'.* over .* MB"):
            read(text)
    with pytest.raises(DataError, match="outside of its lists"):
        read('{"a": "' + "b" * 500_000)


def test_a_long_string_is_read_once(monkeypatch):
    """Were it looked through again with each piece that comes, this would take minutes."""
    monkeypatch.setattr(json_arrays, "_CHUNK_BYTES", 1 << 12)
    row = {"id": 1, "s": 'a\\"]' * 500_000}
    for content in ({"images": [row, IMAGE]}, {"info": row["s"], "images": [row, IMAGE]}):
        file = Slow(json.dumps(content), 1 << 16)
        assert list(read_array(file, "images", path="x")) == [row, IMAGE]
        assert file.num_read == len(file.getvalue())


def test_numbers_stay_exact():
    numbers = [2**63, -(2**63) - 1, -(2**64), 10**30, 12345678901234567890123, 0.1, 1e300]
    assert read(json.dumps({"images": [{"id": n, "text": str(n)} for n in numbers]})) == [
        {"id": n, "text": str(n)} for n in numbers
    ]


def test_memory_does_not_grow_with_the_file(monkeypatch):
    monkeypatch.setattr(json_arrays, "_CHUNK_BYTES", 1 << 16)
    row = json.dumps(BOX)

    class Endless(io.RawIOBase):
        """A file of many rows that exists only as it is read."""

        def __init__(self, num_rows):
            self._left = num_rows
            self._text = b'{"annotations": [' + row.encode()

        def read(self, size=-1):
            while self._left and len(self._text) < size:
                self._left -= 1
                self._text += b"," + row.encode()
            if not self._left and not self._text.endswith(b"]}") and self._text:
                self._text += b"]}"
            chunk, self._text = self._text[:size], self._text[size:]
            return chunk

    def peak(num_rows):
        tracemalloc.start()
        count = sum(1 for _ in read_array(Endless(num_rows), "annotations", path="x"))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == num_rows + 1
        return most

    peak(100)
    assert peak(20_000) < peak(5_000) + 100_000


def test_reads_follow_the_file_once(monkeypatch):
    """Each byte is read once, and no more than two chunks before its item is given out."""
    monkeypatch.setattr(json_arrays, "_CHUNK_BYTES", 1 << 12)
    rng = random.Random(0)
    rows = [{"id": n, "s": rng.choice(["NaN", "\\", '"', "]"]) * 20} for n in range(2000)]
    text = json.dumps({"images": rows})
    file = Slow(text, 1 << 12)
    for n, row in enumerate(read_array(file, "images", path="x")):
        assert row == rows[n]
        if n % 500 == 0:
            assert file.tell() <= len(json.dumps(rows[: n + 1])) + 2 * (1 << 12)
    assert file.num_read == len(text)


def test_a_key_may_stand_far_from_its_list():
    assert read('{"images"' + " " * 3000 + ":\n" + " " * 3000 + "[1, 2]}") == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"im\\u0061ges": [1]}', "'images' is written with escapes"),
        ('{"images": [1], "images": []}', "'images' is there 2 times"),
        ('{"images": [], "images": [1]}', "'images' is there 2 times"),
    ],
)
def test_rows_are_not_lost_by_how_their_key_is_written(text, message):
    with pytest.raises(DataError, match=message):
        read(text)
