"""In how many shuffles the shards are written."""

import pytest

from components.conversion import assign_shards
from components.conversion.assign_shards import in_section, num_waves, sections
from components.conversion.options import ConversionOptions, SplitSource


class _File:
    def __init__(self, size_in_bytes):
        self.size_in_bytes = size_in_bytes


@pytest.mark.parametrize(
    ("megabytes", "waves"),
    # Objects365's file has 6.6 GB: held in a sixteenth while it is handed on, not whole.
    [((1,), 1), ((150, 60), 2), ((900,), 9), ((6600,), 16), ((None,), 1)],
)
def test_waves_hold_a_bounded_part_of_the_annotations(megabytes, waves, monkeypatch):
    sizes = {f"{number}.json": size for number, size in enumerate(megabytes)}

    def metadata(path):
        return _File(sizes[path] * 1_000_000) if sizes[path] else None

    monkeypatch.setattr(assign_shards, "file_metadata", metadata)
    splits = {f"split{path[0]}": SplitSource(images="", annotations=path) for path in sizes}
    assert num_waves(ConversionOptions(name="", splits=splits)) == waves


def test_sections_come_in_their_order():
    batches = [in_section(2, b"c"), in_section(0, b"a"), in_section(2, b"d"), in_section(1, b"b")]
    assert list(sections(batches)) == [[b"a"], [b"b"], [b"c", b"d"]]
