"""Tables of an ablation: mean, spread, comparison by seed."""

import csv
import dataclasses
import io
import json
import re

from pix2seq_model.ablation.summary import Row, write_tables


def test_mean_spread_and_comparison_by_seed():
    usual = Row(question="bins", setting="32", is_usual=True, values={"AP": (0.3, 0.2, 0.1)})
    other = Row(question="bins", setting="8", is_usual=False, values={"AP": (0.1, 0.1, 0.2)})
    assert usual.text("AP") == "0.200 ± 0.100"
    assert other.against(usual, "AP") == "-0.067, lower for 2 of 3"
    assert usual.against(other, "AP") == "+0.067, higher for 2 of 3"
    assert usual.against(dataclasses.replace(usual, setting="alike"), "AP") == "the same"
    assert usual.against(usual, "AP") == ""
    one = Row(question="bins", setting="8", is_usual=False, values={"AP": (0.5,)})
    assert one.text("AP") == "0.500"


def test_the_tables_have_every_setting(summary, tmp_path):
    text = summary.text()
    assert re.search(r"^8 +0\.120 ± 0\.028 +0\.240 ± 0\.057 ", text, re.MULTILINE)
    assert "-0.130, lower for 2 of 2" in text
    assert "from scratch, no noise objects" in text
    write_tables(tmp_path, summary)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "ablation.csv").read_text())))
    assert [row["setting"] for row in rows] == ["8", "32", "random", "0", "-3", "0", "-3"]
    assert rows[0]["AP_mean"] == "0.120000"
    content = json.loads((tmp_path / "ablation.json").read_text())
    assert content["rows"][0]["values"]["AP"] == [0.1, 0.14]
    assert len(content["trials"]) == 6
