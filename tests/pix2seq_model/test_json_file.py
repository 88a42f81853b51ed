import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix2seq_model.errors import DataError, ModelError
from pix2seq_model.json_file import MOST_DEPTH, parse_json, read_json

FIX = "write it again"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
)


def parse(text, **rules):
    return parse_json(text, source="x.json", fix=FIX, **rules)


@given(VALUES, st.booleans())
def test_what_python_writes_is_read(value, in_ascii):
    assert parse(json.dumps(value, ensure_ascii=in_ascii)) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "line 1, column 1: Expecting value"),
        (b'{"a": 1', "line 1, column 8"),
        (b'{"a":\n 1,}', "line 2, column 4"),
        (b'{"a": 1}\n\n{', "line 3, column 1: Extra data"),
        (b"\x00" * 30, "line 1, column 1"),
        (b'{"a":\n"\xff"}', "line 2: it is no UTF-8"),
        (b"[" * 200_000, "nested more than 100 levels deep"),
        (b'{"a":' * 20_000, "nested more than 100 levels deep"),
        (b'{"a": [1,\n' + b"7" * 5000 + b"]}", "line 2: a number has 5,000 digits"),
        (b'{"a": [{"b": NaN}]}', r"a\[0\].b is nan, not a finite number"),
        (b'{"a": -Infinity}', "a is -inf"),
        (b'{"a": [0, 1e999]}', r"a\[1\] is inf"),
        (b'{"a": [0, ' + b"1" * 300 + b"e99]}", r"a\[1\] is inf"),
        (b'{"a": ["x", "\\ud800"]}', r"a\[1\] has a character of which half is missing: '\\ud800'"),
        (b'{"a": {"\\udc80": 1}}', "a key of a has a character of which half"),
        (b'{"a": "\xed\xa0\x80"}', "line 1: it is no UTF-8"),
    ],
)
def test_one_message_for_whatever_is_wrong(text, said):
    with pytest.raises(
        DataError, match=rf"^x\.json is damaged or not the JSON that it should be \(.*{said}"
    ) as got:
        parse(text)
    assert str(got.value).endswith(f"; {FIX}")
    assert len(str(got.value)) < 300


def test_nesting_is_counted_outside_of_strings():
    nested: list = ['[[[{"\\', '\\"[[', "]]]\n"] * MOST_DEPTH
    for _ in range(MOST_DEPTH - 1):
        nested = [nested]
    text = json.dumps(nested)
    assert parse(text) == nested
    with pytest.raises(DataError, match="nested more than"):
        parse(f"[{text}]")
    # Many at one level are not deep.
    assert parse(json.dumps([[1]] * 1000)) == [[1]] * 1000


def test_what_a_caller_allows():
    assert math.isnan(parse("[NaN]", finite=False)[0])
    assert parse('["\\udcff"]', surrogates=True) == ["\udcff"]
    assert parse('\ufeff{"a": "\\ud83d\\ude00"}') == {"a": "😀"}
    # Words and escapes that only look like them.
    assert parse('["NaN", "\\\\ud800", 1e-400]') == ["NaN", "\\ud800", 0.0]


def test_the_kind_and_the_class_of_the_error():
    with pytest.raises(ModelError, match=r"it holds a list, not an object\); write"):
        parse("[]", kind=dict, error=ModelError)
    with pytest.raises(DataError, match="it holds 3, not a list"):
        parse("3", kind=list)


def test_files(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(FileNotFoundError):
        read_json(path, fix=FIX)
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path, fix=FIX, kind=dict) == {"a": 1}
    with pytest.raises(DataError, match=rf"^{path} is larger than 0 MB; write it again"):
        read_json(path, fix=FIX, most_bytes=10)
    path.write_text("{")
    with pytest.raises(ModelError, match=rf"^{path} is damaged"):
        read_json(path, fix=FIX, error=ModelError)


class _Endless:
    """A file of another store; one on this machine is refused before it is opened."""

    def open(self, mode):
        return open("/dev/zero", mode)

    def __fspath__(self):
        return "gs://bucket/endless.json"


def test_what_never_ends_is_not_read_to_its_end():
    with pytest.raises(DataError, match="is larger than 1 MB"):
        read_json(_Endless(), fix=FIX, most_bytes=1 << 20)
    with pytest.raises(DataError, match="/dev/zero is a device, not a file; write it again"):
        read_json(Path("/dev/zero"), fix=FIX)


# What is read there was made in the same process or comes with the code.
_OWN = {
    "components/coco_evaluator.py": "parameters of its node",
    "components/conversion/batches.py": "rows between steps of the Beam job",
    "components/custom_job_trainer.py": "parameters of its node",
    "components/data_version.py": "parameters of its node",
    "components/evaluation_report.py": "parameters of its node",
    "components/example_gen.py": "parameters of its node",
    "components/model_pusher.py": "parameters of its node",
    "components/prediction/predict_shards.py": "rows between steps of the Beam job",
    "components/trainer.py": "parameters of its node",
    "pipelines/image_identity.py": "digests that come with the code, read without any package",
    "pipelines/local/trained.py": "parameters of its node",
    "pipelines/run_ablation.py": "what it is about to write",
    "pipelines/vertex/access.py": "a table that comes with the code",
    "pipelines/vertex/completed_job.py": "what the compiler has just written",
    "pipelines/vertex/pinned_job.py": "what the compiler has just written",
    "pix2seq_model/ablation/runner.py": "what it is about to write",
    "pix2seq_model/data/json_arrays.py": "annotations, as a stream with the same limits",
    "pix2seq_model/json_file.py": "the reader itself",
    "pix2seq_model/model_folder/saved_model.py": "arguments of a process of its own",
    "pix2seq_model/training/checkpoint.py": "under a checksum, and every error is damage",
    "pix2seq_model/training/run_record.py": "what it is about to write",
    "pix2seq_model/training/step_cache.py": "the answer of a process of its own",
}


def test_every_file_is_read_by_it():
    root = Path(__file__).parents[2]
    found = {
        str(path.relative_to(root))
        for room in ("pipelines", "components", "pix2seq_model", "configs")
        for path in (root / room).rglob("*.py")
        if re.search(r"\b(?:or)?json\.loads?\b", path.read_text())
    }
    assert found == set(_OWN)
