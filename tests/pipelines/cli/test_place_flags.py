"""Flags whose values are places."""

import pytest
from absl import flags

from pipelines.cli import place_flags
from pix2seq_model.places import read_places


def test_flags_of_places(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    values = flags.FlagValues()
    parser = place_flags._Places("where", read_places)
    serializer = flags.CsvListSerializer(",")
    flags.DEFINE(parser, "where", None, "", values, serializer)
    values(["program", "--where=~/x,gs://b/y"])
    assert values.where == [f"{tmp_path}/x", "gs://b/y"]
    with pytest.raises(flags.Error) as caught:
        values(["program", "--where=s3://b/y"])
    assert str(caught.value).startswith("flag --where=s3://b/y: addresses s3:// cannot be read")
