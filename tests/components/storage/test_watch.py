"""What is said while a job writes shards."""

import orjson

from components.storage.files import PLAN, progress_file, write_file
from components.storage.watch import ShardBar


def test_a_log_has_a_few_lines(tmp_path, capsys):
    output = str(tmp_path)
    with ShardBar(output) as bar:
        bar._look()
        write_file(output, PLAN, orjson.dumps({"problem": "", "splits": {"a": {"num_shards": 2}}}))
        bar._look()
        write_file(output, progress_file("a", 0, 2), b"{}")
        bar._look()
        write_file(output, progress_file("a", 1, 2), b"{}")
    assert capsys.readouterr().err.splitlines() == [
        "writing records: 0 of 2 shards",
        "writing records: 1 of 2 shards",
        "writing records: 2 of 2 shards",
    ]
