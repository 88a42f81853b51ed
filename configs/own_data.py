"""Your own data: where the images and the annotations are, and nothing else.

    python pipelines/run_pipeline.py --config=configs/own_data.py:tiny \\
        --config.data.finetune.images.all=photos --config.data.finetune.annotations.all=splits

What is in the two folders is recognised (docs/own_data.md); labels among the images need one.
The argument is a size: tiny for two processor cores, small for a small GPU, base (ViT-B) and large
(ViT-L) for large ones. Image size, vocabulary, objects of a sequence, batch, steps and intervals
follow from a scan of the annotation files when the command is given: `own_data` has the limits
within which they are chosen, the command prints each value with its reason, and
`--config.section.field=value` sets it otherwise. base and large start from the checkpoint that was
published for pretraining on Objects365; --config.finetune.start_from=FOLDER names another one, and
the network and the vocabulary are then that one's: with
gs://pix2seq/obj365_pretrain/resnet_640x640_b256_s400k base is a ResNet-50.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base
from pix2seq_model.errors import ConfigError

_PUBLISHED = "gs://pix2seq/obj365_pretrain/{}_640x640_b256_s400k"


def get_config(size: str = "tiny") -> ConfigDict:
    if size not in _SIZES:
        raise ConfigError(f"config argument {size!r}: give one of {', '.join(_SIZES)}.")
    config = base.get_config()
    config.name = f"own_data_{size}"
    config.pretrain.enabled = False
    config.data.finetune = base.data_source("auto")
    config.own_data.scan = True
    # What a first model can reach is not known: any is pushed, and a later one must not be worse.
    config.evaluation.min_metrics.AP = 0.0
    for section, settings in _SIZES[size].items():
        config[section].update(settings)
    return config


def _narrow_resnet(*, width: float, layers: int, dim: int, heads: int) -> dict[str, Any]:
    """As in configs/demo.py: on few images a convolutional stem finds the objects sooner."""
    sizes = {
        f"{name}_{part}": value
        for part in ("encoder", "decoder")
        for name, value in (("dim", dim), ("mlp_dim", 2 * dim), ("num_heads", heads))
    }
    return {
        "backbone": "resnet",
        "resnet_variant": "c4",
        "resnet_width_multiplier": width,
        "num_encoder_layers": layers,
        "num_decoder_layers": layers,
        **sizes,
        "drop_path": 0.0,
        "drop_units": 0.0,
    }


_RANDOM_START = {"weight_decay": 0.02, "clip_norm": 1.0}
_PUBLISHED_START = {
    "precision": "mixed_bfloat16",
    "drop_empty_images": True,
    "augmentation": {"crop": "diagonal"},
}
_SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "tiny": {
        "own_data": {
            "machine": "two processor cores",
            "image_sides": (64, 96, 128, 160, 192),
            "box_pixels": 20,
            "max_objects": 50,
            "batch_size": 16,
            "passes": 500,
            "min_steps": 1000,
            "minutes": 10.0,
            # Of this network 3.6 seconds of a core for a megapixel: measured at 72 x 96 and
            # 96 x 128 px in batches of 16.
            "megapixels_per_second": 0.55,
            "warmup_steps": 100,
            "learning_rate": 1e-3,
            "start_learning_rate": 5e-4,
        },
        "model": _narrow_resnet(width=0.25, layers=2, dim=128, heads=4),
        "finetune": {**_RANDOM_START, "augmentation": {"scale_min": 0.8, "scale_max": 1.25}},
        "evaluation": {"batch_size": 64},
    },
    "small": {
        "own_data": {
            "machine": "a GPU of 8 GB",
            "image_sides": (192, 256, 320, 384),
            "box_pixels": 32,
            "batch_size": 32,
            "passes": 200,
            "min_steps": 5000,
            "max_steps": 50_000,
            "learning_rate": 5e-4,
            "start_learning_rate": 2e-4,
        },
        "model": _narrow_resnet(width=0.5, layers=4, dim=256, heads=8),
        "finetune": {**_RANDOM_START, "precision": "mixed_bfloat16"},
        "evaluation": {"batch_size": 32},
    },
    "base": {
        "own_data": {
            "machine": "a GPU of 40 GB",
            "image_sides": (640,),
            "batch_size": 32,
            "passes": 60,
            "min_steps": 2000,
        },
        "finetune": {**_PUBLISHED_START, "start_from": _PUBLISHED.format("vit_b")},
    },
    "large": {
        "own_data": {
            "machine": "a GPU of 80 GB",
            "image_sides": (640,),
            "batch_size": 16,
            "passes": 60,
            "min_steps": 2000,
        },
        "model": base.model("vit_l").to_dict(),
        "finetune": {**_PUBLISHED_START, "start_from": _PUBLISHED.format("vit_l")},
    },
}
