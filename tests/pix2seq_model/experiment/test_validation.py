"""What a run would refuse is refused when the config is loaded, with the setting's name."""

import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from configs import demo
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.validation import training_run, validate

_TEXT = "must be a text"
# Setting, value, and a part of the message; the message has the name of the setting too.
REFUSED = [
    ("name", 3, _TEXT),
    ("seed", -1, "at least 0"),
    ("seed", 2**31, "at most 2147483647"),
    ("seed", 0.5, "a whole number"),
    ("vocabulary.num_bins", 300, ""),
    ("vocabulary.num_bins", 1, "at least 2"),
    ("vocabulary.coord_shift", 100, "leaves no room for classes"),
    ("vocabulary.vocab_size", 264.0, "a whole number"),
    ("model.num_heads_decoder", 0, "at least 1"),
    ("model.num_heads_decoder", 256, "every head needs a channel"),
    ("model.backbone", "swin", "none of 'vit', 'resnet'"),
    ("model.resnet_depth", 34, "none of 50, 101"),
    ("model.resnet_variant", "c3", "none of"),
    ("model.resnet_width_multiplier", 0.0, "above 0"),
    ("model.resnet_width_multiplier", 0.001, "narrowest convolution's 64: give at least 0.015625"),
    ("model.dim_encoder", 129, "must be even"),
    ("model.drop_path", 1.0, "below 1"),
    ("model.drop_units", float("nan"), "a finite number"),
    ("model.bridge", "conv", "none of"),
    ("model.use_class_token", 1, "true or false"),
    ("data.pretrain.format", "pascal", "none of 'objects365', 'coco', 'coco_format'"),
    ("data.finetune.images", {"test": "x"}, "images.test is given but annotations.test is not"),
    ("data.finetune.images", {"a b": "x"}, "a plain word"),
    ("data.finetune.num_shards", {"train": -1}, "num_shards.train=-1 must be at least 0"),
    ("data.finetune.num_shards", {"train": 100_000}, "at most 99999"),
    ("data.finetune.num_shards", {"trian": 4}, "did you mean num_shards.train"),
    ("data.finetune.num_shards", {"test": 4}, "num_shards.test=4: there is no split 'test'"),
    ("data.finetune.max_defect_fraction", 1.5, "at most 1"),
    ("data.finetune.drop_fake", "no", "true or false"),
    ("data.finetune.check_pixels", "no", "true or false"),
    ("data.finetune.max_pixels", 0, "at least 1"),
    ("own_data.scan", "yes", "true or false"),
    ("logging.loggers", ("comet",), "is none of 'tensorboard', 'mlflow', 'wandb'"),
    ("own_data.image_sides", (96, 64), "ascending"),
    ("own_data.image_sides", (), "ascending"),
    ("own_data.image_sides", (8,), "at least 16"),
    ("own_data.box_pixels", 0, "at least 1"),
    ("own_data.max_objects", 0, "at least 1"),
    ("own_data.batch_size", 0, "at least 1"),
    ("own_data.passes", 0, "at least 1"),
    ("own_data.min_steps", 0, "at least 1"),
    ("own_data.min_steps", 200_000, "exceeds own_data.max_steps=100000"),
    ("own_data.max_steps", 0, "at least 1"),
    ("own_data.minutes", -1.0, "at least 0"),
    ("own_data.megapixels_per_second", 0.0, "above 0"),
    ("own_data.warmup_steps", -1, "at least 0"),
    ("own_data.learning_rate", 0.0, "above 0"),
    ("own_data.start_learning_rate", -1.0, "above 0"),
    ("pretrain.enabled", 1, "true or false"),
    ("finetune.start_from", 3, _TEXT),
    ("finetune.split", "test", "data.finetune.annotations.test is empty"),
    ("finetune.image_size", (64,), "2 values"),
    ("finetune.image_size", (64, 0), "at least 1"),
    ("finetune.image_size", (64, 6), "give at least 7 pixels"),
    ("finetune.image_size", (64.0, 64.0), "a whole number"),
    ("finetune.batch_size", 0, "at least 1"),
    ("finetune.steps", 0, "at least 1"),
    ("finetune.steps", "9", "a whole number"),
    ("finetune.learning_rate", 0.0, "above 0"),
    ("finetune.learning_rate", float("inf"), "a finite number"),
    ("finetune.schedule", "step", "none of 'linear', 'cosine', 'constant'"),
    ("finetune.warmup_steps", -1, "at least 0"),
    ("finetune.warmup_steps", 701, "at most steps=700"),
    ("finetune.end_factor", 1.1, "at most 1"),
    ("finetune.weight_decay", -0.1, "at least 0"),
    ("finetune.weight_decay_exclude", ("bias", "norm("), "'norm(' is no regular expression"),
    ("finetune.weight_decay_exclude", "bias", "must be a tuple"),
    ("finetune.beta_2", 1.0, "below 1"),
    ("finetune.clip_norm", -1.0, "at least 0"),
    ("finetune.ema_decay", 1.0, "below 1"),
    ("finetune.label_smoothing", 1.5, "below 1"),
    ("finetune.accumulation_steps", 0, "at least 1"),
    ("finetune.batch_size", 33, "accumulation_steps=2: choose 32 or 34"),
    ("finetune.max_skipped_batches", -1, "at least 0"),
    ("finetune.epochs", -1.0, "at least 0"),
    ("finetune.precision", "float16", "none of 'float32', 'mixed_bfloat16'"),
    ("finetune.activation_checkpointing", "on", "none of 'none', 'products', 'layers'"),
    ("finetune.jit_compile", "yes", "none of 'auto', 'on', 'off'"),
    ("finetune.steps_per_log", 0, "at least 1"),
    ("finetune.checkpoint_every_steps", 0, "at least 1"),
    ("finetune.checkpoint_every_minutes", -1.0, "at least 0"),
    ("finetune.keep_checkpoints", 0, "at least 1"),
    ("finetune.evaluate_every_steps", 75, "steps_per_log=50: choose 50 or 100"),
    ("pretrain.evaluate_every_steps", 50, "data.pretrain.annotations.val is empty"),
    ("finetune.evaluate_images", 0, "at least 1"),
    ("finetune.keep_best", True, "set evaluate_every_steps"),
    ("finetune.validation_loss", "yes", "true or false"),
    ("finetune.early_stopping_patience", -1, "at least 0"),
    ("finetune.early_stopping_patience", 3, "set evaluate_every_steps"),
    ("finetune.early_stopping_metric", "AP75", "none of 'AP', 'validation_loss'"),
    ("finetune.early_stopping_min_delta", -0.1, "at least 0"),
    ("finetune.freeze", "stem", "none of 'none', 'backbone', 'encoder'"),
    ("pretrain.freeze", "encoder", "pretrain.start_from"),
    ("finetune.repeat_threshold", 1.5, "at most 1"),
    ("finetune.shuffle_buffer", 0, "at least 1"),
    ("finetune.augmentation.scale_min", 3.0, "0 < scale_min <= scale_max"),
    ("finetune.augmentation.scale_max", 0.0, "above 0"),
    ("finetune.augmentation.flip", 0.5, "true or false"),
    ("finetune.augmentation.flip_vertical", 0.5, "true or false"),
    ("finetune.augmentation.turn", 90, "true or false"),
    ("finetune.augmentation.brightness", -0.1, "at least 0"),
    ("finetune.augmentation.contrast", 1.1, "at most 1"),
    ("finetune.augmentation.saturation", -0.1, "at least 0"),
    ("finetune.augmentation.hue", 0.6, "at most 0.5"),
    ("finetune.augmentation.grey", 2.0, "at most 1"),
    ("finetune.augmentation.blur", -0.5, "at least 0"),
    ("finetune.augmentation.blur_sigma", 0.0, "at least 0.1"),
    ("finetune.augmentation.cutout", 1.5, "at most 1"),
    ("finetune.augmentation.cutout_size", 0.0, "above 0"),
    ("finetune.sequence.max_objects", 0, "at least 1"),
    ("finetune.sequence.max_objects", 101, "model.max_seq_len=32"),
    ("finetune.sequence.order", "size", "none of 'random'"),
    ("finetune.sequence.noise_objects", 2, "true or false"),
    ("finetune.sequence.class_corruption", "all", "none of 'none'"),
    ("finetune.sequence.padding_weight", -1.0, "at least 0"),
    ("finetune.sequence.near_duplicate_std", float("nan"), "a finite number"),
    ("evaluation.split", "test", "data.finetune.annotations.test is empty"),
    ("evaluation.batch_size", 0, "at least 1"),
    ("evaluation.max_objects", 7, "model.max_seq_len=32: set max_objects to at most 6"),
    ("evaluation.top_k", -1, "at least 0"),
    ("evaluation.top_p", 2.0, "at most 1"),
    ("evaluation.temperature", 0.0, "above 0"),
    ("evaluation.end_token_offset", float("-inf"), "a finite number"),
    ("evaluation.stop_after_noise", -1, "at least 0"),
    ("evaluation.decoder_storage", "int8", "none of 'float32', 'float16'"),
    ("evaluation.seed", -1, "at least 0"),
    ("evaluation.precision", "mixed_bfloat16", "none of 'float32', 'bfloat16'"),
    ("evaluation.on_beam", "yes", "true or false"),
    ("evaluation.clip_boxes", 1, "true or false"),
    ("evaluation.resize", "bicubic", "none of 'antialias', 'plain'"),
    ("evaluation.min_metrics", {"AP60": 0.1}, "'AP60' is none of"),
    ("evaluation.min_metrics", {"AP": 40.0}, "min_metrics.AP=40.0 must be at least 0 and at most"),
    ("evaluation.max_regression", {"AP": -0.1}, "at least 0"),
    ("evaluation.num_pictures", -1, "at least 0"),
    ("evaluation.num_attention_pictures", -1, "at least 0"),
    ("push.destination", 3, _TEXT),
    ("push.registry.alias", "Best", "begins with a lower case letter"),
    ("push.endpoint.accelerator_count", -1, "at least 0"),
    ("push.endpoint.min_replicas", 0, "at least 1"),
    ("push.endpoint.min_replicas", 2, "raise max_replicas"),
    ("push.endpoint.max_replicas", 0, "at least 1"),
    ("cloud.service_account", 3, _TEXT),
    ("cloud.labels", {"Team": "a"}, "lower case"),
    ("cloud.dataflow.max_num_workers", 0, "at least 1"),
    ("cloud.dataflow.disk_size_gb", 0, "at least 1"),
    ("cloud.dataflow.public_ips", "no", "true or false"),
    ("cloud.dataflow.service_options", "enable_prime", "must be a tuple"),
    ("cloud.budget_usd", -1.0, "at least 0"),
    ("cloud.tensorboard", "logs", "like projects/PROJECT/locations/REGION/tensorboards/NUMBER"),
    ("cloud.tensorboard", "projects/p/locations/r/tensorboards/7", "give cloud.service_account="),
    ("cloud.experiment", "COCO", "lower case"),
    ("cloud.network", "default", "like projects/PROJECT_NUMBER/global/networks/NAME"),
    ("cloud.network_attachment", "projects/p/regions/r/networks/n", "networkAttachments"),
    ("cloud.encryption_key", "projects/p/locations/r/keyRings/k", "cryptoKeys/KEY"),
    ("cloud.training.strategy", "cheap", "none of 'standard', 'spot', 'flex_start'"),
    ("cloud.training.max_wait_hours", -1.0, "at least 0"),
    ("cloud.training.max_wait_hours", 2.0, "for strategy=flex_start alone"),
    ("cloud.training.reservation", "mine", "like projects/PROJECT/zones/ZONE/reservations/NAME"),
    ("cloud.training.accelerator_count", -1, "at least 0"),
    ("cloud.training.worker_count", 0, "at least 1"),
    ("cloud.training.disk_size_gb", 0, "at least 1"),
    ("cloud.training.max_days", 0.0, "above 0"),
    ("cloud.evaluation.cpus", 0.0, "above 0"),
    ("cloud.evaluation.memory_gb", -1.0, "above 0"),
    ("cloud.evaluation.accelerator_count", -1, "at least 0"),
    ("cloud.conversion.cpus", 0, "at least 1"),
    ("cloud.conversion.memory_gb", -1.0, "above 0"),
    ("cloud.retries", -1, "at least 0"),
]


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_what_cannot_work_is_refused_with_the_remedy(name, value, message):
    config = demo.get_config()
    if message.startswith("accumulation_steps=2"):
        config.finetune.accumulation_steps = 2
    *parents, field = name.split(".")
    section = config
    for part in parents:
        section = section[part]
    with section.ignore_type():
        section[field] = ConfigDict(value) if isinstance(value, dict) else value
    with pytest.raises(ConfigError) as caught:
        validate(config)
    assert name in str(caught.value)
    assert message in str(caught.value)


FLEX_START = "cloud.training.strategy=flex_start"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((FLEX_START, "cloud.training.max_days=9"), "at most 7 days"),
        ((FLEX_START, "cloud.training.accelerator_count=0"), "waits for GPUs"),
        ((FLEX_START, "cloud.training.accelerator_type=NVIDIA_TESLA_T4"), "waits for GPUs"),
        ((FLEX_START, "cloud.training.tpu_topology=2x4"), "waits for GPUs"),
        ((FLEX_START, "cloud.training.reservation=any"), "leave one of the two out"),
        (
            ("evaluation.precision=bfloat16", "evaluation.decoder_storage=float16"),
            "leave one of them at float32",
        ),
        (("cloud.training.strategy=spot", "cloud.training.reservation=any"), "strategy=spot"),
        (("cloud.training.tpu_topology=2x4", "cloud.training.worker_count=2"), "worker_count=1"),
        (
            (
                "cloud.network=projects/1/global/networks/n",
                "cloud.network_attachment=projects/p/regions/r/networkAttachments/a",
            ),
            "give one",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config("configs/demo.py", overrides)
    load_config("configs/demo.py", overrides[:1])


def test_every_number_has_a_refusal():
    """So that a new setting is thought of here too; those of `model` are all checked alike."""
    numbers = {name for name, value in _settings("", demo.get_config()) if type(value) is not str}
    alike = ("model.", "pretrain.", "data.pretrain.")
    left = {name for name in numbers - {name for name, *_ in REFUSED} if not name.startswith(alike)}
    assert left == {
        *("data.finetune.drop_reflected", "finetune.enabled", "finetune.drop_empty_images"),
        "cloud.training.restart",
    }


def _settings(prefix, section):
    for name, value in section.items():
        is_open = name in ("images", "annotations", "num_shards", "labels")
        is_open |= name in ("min_metrics", "max_regression")
        if isinstance(value, ConfigDict) and not is_open:
            yield from _settings(f"{prefix}{name}.", value)
        elif not is_open:
            yield f"{prefix}{name}", value


def test_unknown_and_missing_settings_are_named():
    config = demo.get_config()
    config.finetune.batch_sizes = 3
    with pytest.raises(ConfigError, match=r"finetune.batch_sizes is no .*finetune.batch_size\?"):
        validate(config)
    config = demo.get_config()
    del config.evaluation["top_k"]
    with pytest.raises(ConfigError, match=r"evaluation.top_k is missing"):
        validate(config)
    del config["push"]
    with pytest.raises(ConfigError, match=r"the config has no push"):
        validate(config)


def test_one_stage_must_be_enabled():
    config = demo.get_config()
    config.pretrain.enabled = config.finetune.enabled = False
    with pytest.raises(ConfigError, match="enable one"):
        validate(config)


def test_a_training_step_checks_what_it_reads():
    wrong = ["evaluation.batch_size=0", "pretrain.steps=0"]
    for stage, refused in (("finetune", wrong[0]), ("pretrain", wrong[1])):
        with pytest.raises(ConfigError, match=refused):
            load_config("configs/demo.py", wrong, stage=stage)
    load_config("configs/demo.py", ["pretrain.steps=0"], stage="finetune")
    load_config("configs/demo.py", ["cloud.training.worker_count=0"], stage="finetune")


def test_a_run_is_assembled_of_the_sections():
    config = load_config("configs/demo.py", ["finetune.image_size=64,80"])
    run = training_run(config, "finetune")
    assert (run.name, run.stage, run.seed) == ("demo", "finetune", 7)
    assert run.model.image_size == run.settings.image_size == (64, 80)
    assert run.settings.sequence.max_objects == 4
    assert run.settings.augmentation.scale_max == 1.0
    assert run.vocabulary.num_bins == 64
    assert (run.evaluation.split, run.evaluation.batch_size) == ("val", 64)
    assert run.config == config.to_dict()


def test_settings_are_read_without_keras_and_tensorflow():
    code = """
import sys
from configs import ablation
from pix2seq_model.experiment import load_config
load_config("configs/ablation.py")
from pix2seq_model.ablation.trials import plan_trials
plan_trials(load_config("configs/ablation.py"))
print({"keras", "tensorflow", "jax"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
