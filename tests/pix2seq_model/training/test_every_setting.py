"""Every value of every setting that has a choice trains, is evaluated and exported once.

Seven runs, in which each setting takes its values in turn.
"""

import dataclasses
import json
import math
from typing import Any

import pytest

from pix2seq_model.evaluation.evaluate import evaluate_model
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.input_pipeline.settings import Augmentation
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.training import train as training
from pix2seq_model.training.settings import StageSettings
from tests.fixtures import tiny_run

RUNS = 7
_ROOMS = {
    "finetune.": StageSettings,
    "finetune.augmentation.": Augmentation,
    "finetune.sequence.": SequenceSettings,
    "model.": ModelConfig,
    "evaluation.": EvaluationSettings,
}
# Numbers that switch something on, besides choices.
_NUMBERS = {
    "finetune.weight_decay_exclude": ((), ("bias", "norm")),
    "finetune.clip_norm": (0.0, 1.0),
    "finetune.ema_decay": (0.0, 0.5),
    "finetune.label_smoothing": (0.0, 0.1),
    "finetune.accumulation_steps": (1, 2),
    "finetune.max_skipped_batches": (20, 0),
    "finetune.checkpoint_every_minutes": (0.0, 1e-9),
    "finetune.early_stopping_patience": (0, 1),
    "finetune.repeat_threshold": (0.0, 0.9),
    "finetune.augmentation.brightness": (0.0, 0.3),
    "finetune.augmentation.contrast": (0.0, 0.3),
    "finetune.augmentation.saturation": (0.0, 0.3),
    "finetune.augmentation.hue": (0.0, 0.1),
    "finetune.augmentation.grey": (0.0, 0.5),
    "finetune.augmentation.blur": (0.0, 0.5),
    "finetune.augmentation.cutout": (0.0, 0.5),
    "finetune.sequence.near_duplicate_std": (0.05, 0.0),
    "finetune.sequence.padding_weight": (0.1, 0.0),
    "model.drop_path": (0.0, 0.1),
    "model.drop_units": (0.1, 0.0),
    "model.drop_attention": (0.0, 0.1),
    "evaluation.top_k": (0, 1, 3),
    "evaluation.top_p": (0.4, 1.0, 0.0),
    "evaluation.temperature": (1.0, 0.5),
    "evaluation.end_token_offset": (0.0, -5.0),
    "evaluation.stop_after_noise": (0, 1),
    "evaluation.num_attention_pictures": (2, 0),
}
# Numbers whose 0 is no "off", and those of the runs themselves.
_NO_SWITCHES = {
    "finetune.warmup_steps",
    "finetune.evaluate_every_steps",
    "finetune.early_stopping_min_delta",
    "evaluation.seed",
}
# Settings of a kind of network, which is chosen in every other run: their values take turns there.
_EVERY_OTHER = ("model.resnet_", "model.use_class_token", "evaluation.decoder_storage")


def choices() -> dict[str, tuple[Any, ...]]:
    """The values of every setting that has a choice."""
    found = dict(_NUMBERS)
    for prefix, kind in _ROOMS.items():
        for field in dataclasses.fields(kind):
            if field.type is bool:
                found[prefix + field.name] = (False, True)
            elif one_of := field.metadata.get("one_of"):
                found[prefix + field.name] = tuple(one_of)
    return found


def settings_of(number: int) -> dict[str, Any]:
    """The settings of a run, by its number."""
    chosen = {
        name: values[(number // 2 if name.startswith(_EVERY_OTHER) else number) % len(values)]
        for name, values in choices().items()
    }
    if chosen["model.backbone"] == "resnet" and chosen["finetune.jit_compile"] == "on":
        chosen["finetune.jit_compile"] = "off"  # XLA takes minutes of a processor for a ResNet.
    if chosen["evaluation.precision"] != "float32":
        chosen["evaluation.decoder_storage"] = "float32"  # The two exclude each other.
    return chosen


def test_every_number_that_is_off_by_default_is_switched_on():
    off = {
        prefix + field.name
        for prefix, kind in _ROOMS.items()
        for field in dataclasses.fields(kind)
        if field.type in (int, float) and field.default == 0
    }
    assert off - _NUMBERS.keys() == _NO_SWITCHES


def test_every_value_has_its_run():
    seen = [settings_of(number) for number in range(RUNS)]
    for name, values in choices().items():
        assert {settings[name] for settings in seen} == set(values), name
    resnets = [settings for settings in seen if settings["model.backbone"] == "resnet"]
    for name in ("model.resnet_depth", "model.resnet_variant"):
        assert {settings[name] for settings in resnets} == set(choices()[name]), name


def _train(config, examples, folder, **arguments):
    places = {f"{name}_dir": folder / name for name in ("model", "work", "logs")}
    run = training_run(config, "finetune")
    return training.train(run, examples_dir=examples, **places, **arguments)


@pytest.mark.large
@pytest.mark.parametrize("number", range(RUNS))
def test_it_trains_is_evaluated_and_exported(number, tmp_path):
    examples = tiny_run.write_examples(tmp_path / "examples", splits=("train", "val"))
    # A conversion counts; drop_empty_images and repeat_threshold read it.
    counts = {"empty": 0, "images_with_class": {"2": 8, "7": 9}}
    (examples / "statistics.json").write_text(json.dumps({"train": counts}))
    config = tiny_run.config(
        image_size=(64, 64), steps=2, steps_per_log=1, evaluate_every_steps=1, evaluate_images=3
    )
    config.finetune.shuffle_buffer = 64  # Fewer are too few to choose from by class.
    config.model.update(resnet_width_multiplier=0.125)
    for name, value in settings_of(number).items():
        config.update_from_flattened_dict({name: value})
    base = None
    if (freeze := config.finetune.freeze) != "none":
        base = tmp_path / "base"
        config.finetune.freeze = "none"
        _train(config, examples, base)
        config.finetune.freeze = freeze
    info = _train(config, examples, tmp_path, base_model_dir=base and base / "model")
    run = training_run(config, "finetune")
    assert (tmp_path / "model/Format-Serving/saved_model.pb").exists()
    history = tiny_run.history(tmp_path)
    assert [row["step"] for row in history] == [1, 2]
    assert all(math.isfinite(row["loss"]) and 0 <= row["AP"] <= 1 for row in history)
    metrics = evaluate_model(
        tmp_path / "model",
        examples,
        split=run.evaluation.split,
        settings=run.evaluation,
        output_dir=tmp_path / "evaluation",
    )
    assert metrics["model_sha256"] == info.weights_sha256
