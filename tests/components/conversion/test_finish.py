"""The job's own counts: rows in = written + dropped by rule, or the job fails."""

import orjson
import pytest

from components.conversion.finish import LostRowsError, defect_examples, finish_conversion
from components.storage.files import SUMMARY
from tests.fixtures.small_conversion import ANYTHING_GOES, convert
from tests.fixtures.small_dataset import SmallDataset, options


@pytest.fixture
def converted(tmp_path):
    """Options and output folder of a conversion with a dropped image and a dropped box."""
    data = SmallDataset(8)
    del data.files["pictures/103.jpg"]
    data.boxes(104)[0]["bbox"] = [1, 1, 0, 5]
    source = {"train": data.write(tmp_path)}
    convert(tmp_path, source, num_shards={"train": 2})
    return options(source, num_shards={"train": 2}, limits=ANYTHING_GOES), tmp_path / "out"


def test_the_books_balance(converted):
    counts = finish_conversion(converted[0], str(converted[1])).splits["train"].counts
    assert counts["images"] == {
        "rows_in": 8,
        "written": 7,
        "dropped": {"image_missing": 1},
        "changed": {},
    }
    assert counts["annotations"] == {
        "rows_in": 16,
        "written": 13,
        "dropped": {"annotation_of_dropped_image": 2, "box_empty": 1},
        "changed": {},
    }


def lose_an_image(summary):
    summary["shards"][0]["images"]["written"] -= 1


def lose_a_dropped_box(summary):
    for shard in summary["shards"]:
        shard["annotations"]["dropped"].pop("box_empty", None)


def lose_rows_on_the_way(summary):
    """The shard's own counts add up, but fewer rows reached it than were read."""
    for name in ("rows_in", "written"):
        summary["shards"][0]["annotations"][name] -= 2


def lose_a_shard(summary):
    summary["shards"].pop()


@pytest.mark.parametrize(
    ("lose", "message"),
    [
        (lose_an_image, "8 images were read, 8 reached a shard, 6 were written and 1 dropped"),
        (lose_a_dropped_box, "16 annotations were read, 16 reached a shard, 13 were written and 2"),
        (lose_rows_on_the_way, "16 annotations were read, 14 reached a shard, 11 were written"),
        (lose_a_shard, "2 shards planned, 1 written"),
    ],
)
def test_rows_that_are_lost_fail_the_job(converted, lose, message):
    given, output = converted
    summary = orjson.loads((output / SUMMARY).read_bytes())
    lose(summary)
    (output / SUMMARY).write_bytes(orjson.dumps(summary))
    (output / "dataset_info.json").unlink()
    with pytest.raises(LostRowsError, match=message):
        finish_conversion(given, str(output))
    assert not (output / "dataset_info.json").exists()


@pytest.mark.parametrize("damaged", [b"{", b"[]", b'{"image": "1"}'])
def test_a_damaged_dead_letter_hides_no_other(converted, damaged):
    output = converted[1]
    expected = defect_examples(str(output))
    for path in (output / "dead_letter").rglob("*"):
        if path.is_file():
            path.write_bytes(damaged + b"\n" + path.read_bytes())
    assert defect_examples(str(output)) == expected
    assert "image_missing" in expected
