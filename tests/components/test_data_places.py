"""Places that a submission names instead of the config's."""

import pytest

from components.data_places import places_of, with_places
from pix2seq_model.errors import ConfigError
from tests.fixtures.tiny_config import pipeline_config

SECTION = "data.finetune"


@pytest.fixture
def source():
    return {**pipeline_config("gs://data").data.finetune.to_dict(), "max_category_id": 90}


def test_other_places(source):
    before = places_of(source, SECTION)
    assert before.keys() == {
        f"{SECTION}.{kind}.{split}"
        for kind in ("images", "annotations")
        for split in ("train", "val")
    }
    given = f"{SECTION}.images.train=gs://new/train  {SECTION}.annotations.train=gs://new/a=b.json"
    changed = with_places(source, SECTION, given)
    assert places_of(changed, SECTION) == {
        **before,
        f"{SECTION}.images.train": "gs://new/train",
        f"{SECTION}.annotations.train": "gs://new/a=b.json",
    }
    assert places_of(source, SECTION) == before  # Not changed itself.
    assert with_places(source, SECTION, " ") == source


def test_a_split_more_and_one_less(source):
    more = f"{SECTION}.images.test=gs://t {SECTION}.annotations.test=gs://t.json"
    less = f"{SECTION}.images.val= {SECTION}.annotations.val="
    places = places_of(with_places(source, SECTION, f"{more} {less}"), SECTION)
    assert {name.rsplit(".", 1)[1] for name in places} == {"train", "test"}


@pytest.mark.parametrize(
    "given",
    [
        *("data.pretrain.images.train=gs://b", "data.finetune.num_shards.train=3", "gs://b"),
        *("data.finetune.images.train", "finetune.steps=3", "data.finetune.images.a/b=gs://b"),
    ],
)
def test_what_is_no_place_of_these_data(given, source):
    with pytest.raises(ConfigError, match="names no place of this data set: write data"):
        with_places(source, SECTION, given)


def test_places_that_do_not_fit_together(source):
    with pytest.raises(ConfigError, match=r"data\.finetune\.images\.test is given but"):
        with_places(source, SECTION, f"{SECTION}.images.test=gs://b")
