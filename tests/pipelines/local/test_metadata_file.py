import sqlite3

import pytest

from pipelines.local import metadata_file
from pipelines.local.metadata_file import check_metadata_file
from pix2seq_model.errors import DataError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "metadata.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE executions (id INTEGER PRIMARY KEY, state TEXT)")
    database.executemany("INSERT INTO executions (state) VALUES (?)", [("x" * 50,)] * 2000)
    database.commit()
    database.close()
    return path


def test_a_whole_one_is_taken_and_left_as_it_is(file):
    before = file.read_bytes()
    check_metadata_file(file)
    check_metadata_file(file.parent / "none.sqlite")
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["metadata.sqlite"]


def test_one_that_another_process_holds_is_no_damage(file):
    other = sqlite3.connect(file)
    other.execute("BEGIN EXCLUSIVE")
    check_metadata_file(file)
    other.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"x" * 50,
        lambda content: b"\0" * len(content),
        lambda content: content[:100] + b"\xff" * 40 + content[140:],
        lambda content: content[: len(content) // 2],
        lambda content: content[:20000] + bytes(4096) + content[24096:],
    ],
)
def test_a_damaged_one_is_named_with_what_to_do(file, damage):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=rf"^{file} is damaged .*move it away and run the same"):
        check_metadata_file(file)


def test_an_empty_one_is_a_new_one(file):
    file.write_bytes(b"")
    check_metadata_file(file)


def test_extended_codes_of_sqlite_are_damage_too():
    """Of a locked or unreadable file they are not."""
    for code, is_damage in [
        (sqlite3.SQLITE_CORRUPT_INDEX, True),
        (sqlite3.SQLITE_CORRUPT, True),
        (sqlite3.SQLITE_IOERR_READ, False),
    ]:
        error = sqlite3.DatabaseError("of the file")
        error.sqlite_errorcode = code
        assert metadata_file._is_damage(error) is is_damage
