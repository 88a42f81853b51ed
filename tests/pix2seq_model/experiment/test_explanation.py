"""What settings mean, and where their values come from."""

import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.explanation import BASE, _flat, explain, resolved_values
from pix2seq_model.experiment.loading import load_config, read_config

KEYS = [key for key, _ in _flat(read_config(BASE))]


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_is_explained(key):
    found = explain(key)
    assert found.meaning
    assert found.allowed
    assert found.default is not None


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("finetune.sequence.order", "one of random, area, distance, class, class_area, "),
        ("finetune.steps", "whole number, at least 1"),
        ("finetune.image_size", "2 whole numbers, at least 1"),
        ("finetune.weight_decay_exclude", "tuple of texts"),
        ("data.finetune.images.test", "text"),
        ("data.finetune.num_shards", "whole number by name"),
        ("push.endpoint.min_replicas", "whole number, at least 1"),
        ("push.endpoint", "section"),
        ("seed", "whole number, at least 0"),
    ],
)
def test_what_it_may_be(key, allowed):
    assert explain(key).allowed.startswith(allowed)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("finetune.stps", "did you mean finetune.steps?"),
        ("finetune.steps.more", "did you mean finetune.steps"),
        ("nothing", "configs/base.py"),
    ],
)
def test_an_unknown_setting(key, hint):
    with pytest.raises(ConfigError, match=r"there is no setting") as raised:
        explain(key)
    assert hint in str(raised.value)


def test_where_values_come_from():
    name, given = "configs/demo.py", ["finetune.steps=300"]
    overrides = ["finetune.image_size=96", "finetune.batch_size=16", *given]
    shown = resolved_values(
        load_config(name, overrides),
        name,
        given=given,
        all_overrides=overrides,
        scanned={"finetune.image_size", "finetune.steps"},
    )
    values = {v.key: v for v in shown}
    sources = {
        "finetune.steps": (300, "command line"),
        "finetune.batch_size": (16, "recipe"),
        "finetune.image_size": ((96, 96), "scan of the data"),
        "vocabulary.num_bins": (64, name),
        "finetune.beta_2": (0.95, BASE),
        "evaluation.min_metrics.AP": (0.4, name),
    }
    assert {key: (values[key].value, values[key].source) for key in sources} == sources
    assert set(values) == {key for key, _ in _flat(load_config(name))}
