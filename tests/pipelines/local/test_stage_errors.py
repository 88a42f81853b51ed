"""A user's error is found inside the errors of the libraries."""

import pytest

from pipelines.local.stage_errors import StageError, find_user_error, unwritten_metadata
from pix2seq_model.errors import ConfigError, DataError

BEAM_TEXT = """Traceback (most recent call last):
  File "/x/apache_beam/runners/worker/sdk_worker.py", line 309, in _execute
    response = task()
  File "/x/components/conversion/finish.py", line 12, in process
    raise DataError(message)
pix2seq_model.errors.DataError: train.json: no rows under 'images'
rule        count
missing         3 [while running 'Finish/Check']

During handling of the above exception, another exception occurred:
Traceback (most recent call last):
  File "/x/apache_beam/runners/worker/operations.py", line 1
RuntimeError: gone
"""


def raised(error, *, cause=None, context=None):
    error.__cause__, error.__context__ = cause, context
    return error


def test_the_error_itself():
    error = ConfigError("wrong")
    assert find_user_error(error) is error


def test_deep_in_the_chain():
    inner = DataError("broken")
    error = raised(RuntimeError("x"), cause=raised(KeyError("y"), context=inner))
    assert find_user_error(error) is inner


def test_in_the_text_of_a_beam_worker():
    found = find_user_error(RuntimeError(BEAM_TEXT))
    assert isinstance(found, DataError)
    assert str(found) == "train.json: no rows under 'images'\nrule        count\nmissing         3"


def test_beams_addition_to_a_message_is_taken_off():
    found = find_user_error(DataError("broken [while running 'A/B']"))
    assert str(found) == "broken"


@pytest.mark.parametrize("error", [ValueError("DataErrors: no"), OSError(28, "No space left")])
def test_other_errors_are_no_users_errors(error):
    assert find_user_error(error) is None


def test_a_loop_of_contexts_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert find_user_error(first) is None


def test_stage_error_names_the_stage_the_file_and_what_to_do():
    error = OSError(28, "No space left on device", "/data/shard")
    assert str(StageError("Pretrain", error)) == (
        "Pretrain failed: /data/shard: No space left on device; free some space there, or name "
        "another folder"
    )
    assert str(StageError("Push", ZeroDivisionError("1\n2"))) == "Push failed: ZeroDivisionError: 2"


@pytest.mark.parametrize(
    "said",
    [
        "Error when executing query: database or disk is full query: COMMIT;",
        "Error when executing query: cannot commit - no transaction is active query: COMMIT;",
        "Error when executing query: disk I/O error query: INSERT INTO `Type` VALUES(1)",
    ],
)
def test_metadata_that_cannot_be_written_are_named(said):
    error = raised(RuntimeError("in a stage"), context=RuntimeError(said))
    found = unwritten_metadata(error, "/root/metadata.sqlite")
    assert str(found).startswith("/root/metadata.sqlite cannot be written (")
    assert "free some space there" in str(found)
    assert "query" not in str(found)
    assert unwritten_metadata(error, "") is None
    assert unwritten_metadata(RuntimeError("database is locked"), "/x") is None


def test_a_stage_error_does_not_hide_an_error_behind_what_it_came_from():
    absent = FileNotFoundError(2, "No such file or directory", "/optional")
    error = ZeroDivisionError("of ours")
    error.__context__ = absent  # By `raised` it would be suppressed.
    assert str(StageError("Push", error)) == (
        "Push failed: ZeroDivisionError: of ours (/optional: No such file or directory; name one "
        "that is there)"
    )


def test_a_stage_error_of_a_loop_of_causes():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert str(StageError("Push", first)) == "Push failed: ValueError: a"
