"""A conversion killed before each of its file operations: the next one ends with the same bytes."""

from pathlib import Path

import pytest

from pix2seq_model.data.manifest import FILE_NAME, check_shards, read_dataset_info
from tests.fixtures.commands import PROCESSES
from tests.fixtures.folder_content import content_of
from tests.fixtures.kill_points import KILLED, dies_before
from tests.fixtures.small_conversion import ANYTHING_GOES, in_memory
from tests.fixtures.small_dataset import SmallDataset, options

# In `make test`: so many of them, spread over the conversion.
SAMPLE = 3


def _convert(source, output: Path, number: int = 0) -> None:
    from components.conversion.convert import convert_dataset

    counted = dies_before(number, output) if number else lambda: 0
    chosen = options({"train": source}, num_shards={"train": 2}, limits=ANYTHING_GOES)
    convert_dataset(chosen, str(output), make_pipeline=in_memory)
    if number:
        Path(f"{output}.count").write_text(str(counted()))


def _convert_and_die(number: int, source, output: Path) -> int:
    """Exit status: KILLED, or 0 if there are fewer operations than `number`."""
    child = PROCESSES.Process(target=_convert, args=(source, output, number))
    child.start()
    child.join()
    return child.exitcode


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A data set with a defect, and its conversion without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    data = SmallDataset(6)
    del data.files[next(reversed(data.files))]
    source = data.write(folder)
    _convert(source, folder / "out")
    return source, content_of(folder / "out")


def _check_killed_at(number: int, source, expected, output: Path) -> int:
    status = _convert_and_die(number, source, output)
    if (output / FILE_NAME).exists():  # Who finds a manifest finds all that it names.
        check_shards(output, read_dataset_info(output))
    _convert(source, output)
    assert content_of(output) == expected, number
    return status


@pytest.fixture(scope="module")
def num_operations(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("counted")
    assert _convert_and_die(1_000_000, whole[0], folder / "out") == 0
    return int((folder / "out.count").read_text())


def test_killed_before_some_file_operations(whole, num_operations, tmp_path):
    for part in range(SAMPLE):
        number = 1 + part * (num_operations - 1) // (SAMPLE - 1)
        assert _check_killed_at(number, *whole, tmp_path / str(number)) == KILLED


@pytest.mark.large
def test_killed_before_every_file_operation(whole, tmp_path):
    number, status = 0, KILLED
    while status == KILLED:
        number += 1
        status = _check_killed_at(number, *whole, tmp_path / str(number))
    assert status == 0
    print(f"killed before each of {number - 1} operations")
    assert number > len(whole[1])


@pytest.mark.parametrize("name", ["dataset_info.json", "statistics.json"])
def test_the_check_sees_a_lost_file(whole, tmp_path, name):
    """Or the ones above would show nothing."""
    source, expected = whole
    _convert(source, tmp_path)
    (tmp_path / name).unlink()
    assert content_of(tmp_path) != expected
