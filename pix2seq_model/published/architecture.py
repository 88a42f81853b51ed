"""The architecture of a published checkpoint, from its `config.json` and shapes."""

from typing import Any

from etils import epath

from pix2seq_model.errors import CheckpointError, ConfigError, shown
from pix2seq_model.json_file import read_json
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.published.locations import CONFIG_FILE
from pix2seq_model.published.object_graph import ObjectGraphCheckpoint
from pix2seq_model.tokens.vocabulary import DETECTION_PROMPT, Vocabulary


def read_published_config(prefix: str) -> dict[str, Any]:
    """Reads the `config.json` next to a checkpoint, or in the folder above.

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    folder = epath.Path(prefix).parent
    for place in (folder / CONFIG_FILE, folder.parent / CONFIG_FILE):
        if place.exists():
            fix = "copy it again from where the checkpoint came from"
            config = read_json(place, fix=fix, error=CheckpointError, kind=dict)
            if not isinstance(config.get("model"), dict):
                raise CheckpointError(f"{place} has no section 'model'.")
            return config
    raise CheckpointError(
        f"{folder} has no {CONFIG_FILE}: it says which architecture the checkpoint is of. Copy it "
        "from where the checkpoint came from."
    )


def describe_architecture(
    config: dict[str, Any],
    checkpoint: ObjectGraphCheckpoint,
    *,
    image_size: tuple[int, int] | None = None,
    overrides: dict[str, Any] | None = None,
) -> tuple[ModelConfig, Vocabulary]:
    """From a published `config.json` to our architecture and vocabulary.

    Fields that the config lacks are read off the checkpoint where its shapes tell them, and are
    the published defaults otherwise; unknown fields are ignored.

    Raises:
      CheckpointError: a setting is one that this network does not have.
    """
    model = {**_read_off(checkpoint), **config["model"]}
    task = config.get("task") or {}
    _refuse_other_kinds(model, config)
    try:
        fields = {
            "backbone": "vit" if model["resnet_variant"] == "c1" else "resnet",
            "image_size": image_size or _pair(model.get("image_size", 640)),
            "bridge": model["dec_proj_mode"],
            "use_class_token": model["use_cls_token"],
            "shared_embedding": model["shared_decoder_embedding"],
            "output_bias": model["decoder_output_bias"],
            "max_seq_len": model["max_seq_len"],
            "drop_path": model.get("drop_path", 0.1),
            "drop_units": model.get("drop_units", 0.1),
            "drop_attention": model.get("drop_att", 0.0),
        }
        for part, suffix in (("encoder", ""), ("decoder", "_dec")):
            dim = model[f"dim_att{suffix}"]
            fields[f"num_{part}_layers"] = model[f"num_{part}_layers"]
            fields[f"dim_{part}"] = dim
            # The published layers are as wide as a whole multiple of their input.
            fields[f"mlp_dim_{part}"] = model[f"dim_mlp{suffix}"] // dim * dim
            fields[f"num_heads_{part}"] = model[f"num_heads{suffix}"]
        if fields["backbone"] == "vit":
            fields["patch_size"] = model.get("patch_size", 16)
        else:
            fields["resnet_variant"] = model["resnet_variant"]
            fields["resnet_depth"] = model.get("resnet_depth", 50)
            fields["resnet_width_multiplier"] = float(model.get("resnet_width_multiplier", 1))
        vocabulary = Vocabulary(
            vocab_size=model["vocab_size"],
            num_bins=config.get("quantization_bins", task.get("quantization_bins", 1000)),
            coord_shift=model.get("coord_vocab_shift", 1000),
        )
        return ModelConfig(**{**fields, **(overrides or {})}), vocabulary
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"the {CONFIG_FILE} of {checkpoint.prefix} cannot be used: {error}"
        ) from error


def _read_off(checkpoint: ObjectGraphCheckpoint) -> dict[str, Any]:
    """What the names and shapes of a checkpoint tell about its architecture."""

    def shape(*paths: str) -> tuple[int, ...]:
        """Of the weight at the first of the paths that exists; empty if there is none."""
        variable = checkpoint.find(*(("model", *path.split("/")) for path in paths))
        return () if variable is None else variable.shape

    def names(path: str) -> list[str]:
        return checkpoint.names("model", *path.split("/"))

    fields: dict[str, Any] = {
        "dec_proj_mode": "mlp" if names("proj_mlp") else "linear_p",
        "use_cls_token": bool(shape("encoder/cls_token_emb", "encoder/cls_token_embedding")),
        "shared_decoder_embedding": not shape("decoder/inp_token_embedding"),
        "decoder_output_bias": bool(shape("decoder/outp_bias")),
    }
    groups = names("encoder/resnet/block_groups")
    if groups:
        fields["resnet_variant"] = "standard" if len(groups) == 4 else "c4"
        blocks = names("encoder/resnet/block_groups/2/layers")
        fields["resnet_depth"] = 101 if len(blocks) == 23 else 50
        first = shape("encoder/resnet/initial_conv_relu_max_pool/0/conv2d/kernel")
        fields["resnet_width_multiplier"] = first[-1] / 64 if first else 1.0
    else:
        fields["resnet_variant"] = "c1"
        fields["patch_size"] = (shape("encoder/stem_conv/kernel") or (16,))[0]
    for part, layers, attention, suffix in (
        ("encoder", "encoder/transformer_encoder/enc_layers", "mha", ""),
        ("decoder", "decoder/decoder/dec_layers", "self_mha", "_dec"),
    ):
        fields[f"num_{part}_layers"] = len(names(layers))
        if query := shape(f"{layers}/0/{attention}/_query_dense/kernel"):
            fields[f"dim_att{suffix}"], fields[f"num_heads{suffix}"] = query[:2]
        if mlp := shape(f"{layers}/0/mlp/mlp_layers/0/dense1/kernel"):
            fields[f"dim_mlp{suffix}"] = mlp[1]
    positions = shape("decoder/seq_pos_emb", "decoder/seq_pos_embedding")
    tokens = shape("decoder/token_embedding", "decoder/outp_token_embedding")
    if positions and tokens:
        fields["max_seq_len"], fields["vocab_size"] = positions[0], tokens[0]
    return fields


def _refuse_other_kinds(model, config):
    task = config.get("task") or {}
    known = {
        "name": "encoder_ar_decoder",
        "pos_encoding": "sin_cos",
        "pos_encoding_dec": "learned",
        "resnet_sk_ratio": 0,
        "task.vocab_id": DETECTION_PROMPT,
    }
    prompt = config.get("task_vocab_id", task.get("vocab_id", DETECTION_PROMPT))
    given = {**model, "task.vocab_id": prompt}
    for name, expected in known.items():
        value = given.get(name, expected)
        if value != expected:
            raise CheckpointError(
                f"{CONFIG_FILE}: {name}={shown(value)}, but this network knows only {expected!r}."
            )


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
