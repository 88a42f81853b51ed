"""Settings that follow from counts: the values, their reasons, and what a given value changes."""

from collections import Counter

import pytest

from pix2seq_model.data.dataset_scan import DatasetScan, SplitScan
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.loading import load_config, read_config
from pix2seq_model.experiment.own_data import CONFIG, GIVEN, SCAN, choose_settings
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.tokens.vocabulary import Vocabulary

NAME = "configs/own_data.py:tiny"
PLACES = [
    f"data.finetune.{kind}.{split}=x"
    for kind in ("images", "annotations")
    for split in ("train", "val")
]


def split_scan(images=160, per_image=None, *, sizes=None, side=640):
    per_image = Counter(per_image or {2: images})
    objects = sum(number * count for number, count in per_image.items())
    return SplitScan(
        images=images,
        objects=objects,
        crowds=0,
        set_aside={},
        objects_per_image=per_image,
        classes=Counter({1: objects}),
        sizes=Counter({200: objects} if sizes is None else sizes),
        sides=Counter({side: images}),
    )


def choose(*overrides, train=None, val=None, highest=3, start=None, name=NAME):
    """The choices by their key."""
    scan = DatasetScan(
        ({"id": 1, "name": "cat"}, {"id": highest, "name": "dog"}),
        {"train": train or split_scan(), "val": val or split_scan(40)},
    )
    given = {override.partition("=")[0] for override in overrides}
    config = read_config(name, overrides)
    return {c.key: c for c in choose_settings(config, scan, given=given, start=start)}


def values(choices, *keys):
    return tuple(choices[key].value for key in keys)


def settled(choices):
    """Loads the config with what was chosen, as a remote step does."""
    scanned = [f"{c.key}={c.value}" for c in choices.values() if c.source == SCAN]
    return load_config(NAME, [*scanned, *PLACES])


@pytest.mark.parametrize(
    ("size", "side", "expected", "reason"),
    [
        (200, 640, 128, "is 20% of the image's longer side: 128 px make it 26 px"),
        (600, 640, 64, "64 px make it 38 px"),
        (20, 640, 192, "this size of network goes up to 192"),
        (20, 90, 96, "half of the images have at most 90 px"),
    ],
)
def test_the_image_is_as_large_as_its_boxes_need(size, side, expected, reason):
    choices = choose(train=split_scan(sizes={size: 3, 999: 1}, side=side))
    config = settled(choices)
    assert config.finetune.image_size == (expected, expected)
    assert config.vocabulary.num_bins == expected
    assert reason in choices["finetune.image_size"].reason


def test_without_sizes_it_is_the_middle_one():
    choices = choose(train=split_scan(sizes={}))
    assert choices["finetune.image_size"].value == (128, 128)
    assert "no row of 'images' says" in choices["finetune.image_size"].reason


@pytest.mark.parametrize(
    ("per_image", "val", "expected", "reason"),
    [
        ({0: 500, 1: 99, 60: 1}, None, 5, "99% of the images with objects have at most 2"),
        ({24: 99, 30: 1}, None, 25, "at most 24, rounded up; 5 of 2,406 training boxes"),
        ({1: 10}, {33: 3}, 35, "at most 33"),
        ({80: 10}, None, 50, "own_data.max_objects is 50; 300 of 800 training boxes"),
    ],
)
def test_sequences_hold_the_objects_of_nearly_all_images(per_image, val, expected, reason):
    train = split_scan(sum(per_image.values()), per_image)
    choices = choose(train=train, val=split_scan(3, val))
    config = settled(choices)
    assert config.finetune.sequence.max_objects == config.evaluation.max_objects == expected
    assert config.model.max_seq_len == 5 * expected
    assert reason in choices["finetune.sequence.max_objects"].reason


@pytest.mark.parametrize(("highest", "shift"), [(3, 200), (99, 200), (100, 300), (1203, 1400)])
def test_classes_have_room(highest, shift):
    choices = choose(highest=highest)
    config = settled(choices)
    assert config.vocabulary.coord_shift == shift
    assert config.vocabulary.vocab_size == shift + config.vocabulary.num_bins


@pytest.mark.parametrize(
    ("images", "expected"),
    # Batch, steps, warm-up, and steps between logs, checkpoints and evaluations.
    [
        (10, (10, 1000, 100, 20, 100, 200)),
        (30, (20, 800, 80, 20, 50, 160)),
        (10**6, (20, 3000, 200, 50, 200, 600)),
    ],
)
def test_the_schedule(images, expected):
    limits = {"batch_size": 20, "passes": 500, "min_steps": 800, "max_steps": 3000}
    limits |= {"warmup_steps": 200, "minutes": 0.0} | ({"min_steps": 1000} if images == 10 else {})
    given = [f"own_data.{name}={value}" for name, value in limits.items()]
    choices = choose(*given, train=split_scan(images))
    names = ("batch_size", "steps", "warmup_steps", "steps_per_log", "checkpoint_every_steps")
    keys = [f"finetune.{name}" for name in (*names, "evaluate_every_steps")]
    assert values(choices, *keys) == expected
    settled(choices)


def test_a_batch_is_a_multiple_of_its_parts():
    choices = choose("finetune.accumulation_steps=4", train=split_scan(10))
    assert choices["finetune.batch_size"].value == 8


def test_the_time_that_a_training_may_take():
    given = ("own_data.minutes=2.0", "own_data.megapixels_per_second=0.5")
    choices = choose(*given, "finetune.image_size=128", "finetune.batch_size=16")
    # 16 images of 16,384 pixels are 0.262 megapixels.
    assert choices["finetune.steps"].value == 230
    assert (
        "about 2 minutes on two processor cores, 0.52 s a step" in choices["finetune.steps"].reason
    )
    settled(choose(*given))


@pytest.mark.parametrize("steps", [1, 7, 20, 333, 123_456])
def test_of_any_number_of_steps_a_config_can_be_made(steps):
    choices = choose(f"finetune.steps={steps}")
    held = choices["finetune.steps"]
    assert (held.value, held.source) == (steps, GIVEN)
    assert "given by you; the scan says " in held.reason
    scanned = [f"{c.key}={c.value}" for c in choices.values() if c.source == SCAN]
    config = load_config(NAME, [*scanned, *PLACES, f"finetune.steps={steps}"])
    assert config.finetune.warmup_steps == min(steps // 10, 100)


def test_what_is_given_stays_and_the_rest_follows_it():
    given = ("finetune.image_size=(96,160)", "evaluation.max_objects=40")
    choices = choose(*given)
    assert choices["finetune.image_size"].source == GIVEN
    assert values(choices, "vocabulary.num_bins", "model.max_seq_len") == (160, 200)
    assert choices["finetune.precision"].source == CONFIG
    with pytest.raises(ConfigError, match=r"no room for category id 30 .* give at least 131"):
        choose("vocabulary.coord_shift=110", highest=30)


def test_a_start_says_network_and_vocabulary():
    start = (ModelConfig.published("resnet", (640, 640)), Vocabulary())
    choices = choose("finetune.start_from=model", start=start)
    config = settled(choices)
    assert (config.model.dim_encoder, config.model.resnet_variant) == (256, "standard")
    assert (config.model.max_seq_len, config.finetune.image_size) == (512, (640, 640))
    assert config.vocabulary.to_dict() == vars(Vocabulary())
    assert config.finetune.learning_rate == config.own_data.start_learning_rate
    with pytest.raises(ConfigError, match=r"model.dim_encoder=64 contradicts .*start_from=model"):
        choose("finetune.start_from=model", "model.dim_encoder=64", start=start)


def test_a_start_with_too_few_classes_and_positions():
    vocabulary = Vocabulary(vocab_size=182, num_bins=32, coord_shift=150)
    start = (ModelConfig.published("resnet", (64, 64)), vocabulary)
    choices = choose(highest=50, start=(start[0], vocabulary), train=split_scan(9, {104: 9}))
    assert choices["vocabulary.coord_shift"].value == 200
    assert "start_from has room for 49: rows move" in choices["vocabulary.coord_shift"].reason
    assert values(choices, "vocabulary.num_bins", "vocabulary.vocab_size") == (32, 232)
