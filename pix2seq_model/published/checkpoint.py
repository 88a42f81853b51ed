"""The published Pix2Seq checkpoints: what they describe, and loading them."""

import dataclasses
import json
from typing import Any

from etils import epath

from pix2seq_model.errors import CheckpointError, ConfigError
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.network.pix2seq import Pix2Seq, build_model
from pix2seq_model.published.object_graph import ObjectGraphCheckpoint
from pix2seq_model.published.weight_names import published_source
from pix2seq_model.tokens.vocabulary import DETECTION_PROMPT, Vocabulary

CONFIG_FILE = "config.json"
_LISTED = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What became of every weight.

    Attributes:
      loaded: weights of the network that were read, by path.
      missing: published names that the network needs and the checkpoint lacks.
      unused: published names below `model` that the network has no place for.
      num_slots: the optimizer's slots, which are never read.
      num_others: the optimizer's and the checkpoint's own counters, which are never read.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    num_slots: int
    num_others: int

    def describe(self) -> str:
        """The report as lines of text."""
        lines = [f"{len(self.loaded)} weights loaded"]
        for kind, names in (("missing", self.missing), ("unused", self.unused)):
            lines.append(f"{len(names)} {kind}" + "".join(f"\n  {name}" for name in names))
        lines.append(f"left aside: {self.num_slots} optimizer slots, {self.num_others} counters")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A loaded checkpoint."""

    network: Pix2Seq
    model_config: ModelConfig
    vocabulary: Vocabulary
    report: ImportReport
    prefix: str


def load_published_checkpoint(
    location: str,
    *,
    image_size: tuple[int, int] | None = None,
    config: dict[str, Any] | None = None,
    model_overrides: dict[str, Any] | None = None,
    allow_missing: bool = False,
    allow_unused: bool = False,
) -> PublishedModel:
    """Builds the network that `config.json` describes and loads the weights beside it.

    Args:
      location: folder or prefix of the checkpoint's files, local or gs://.
      image_size: (height, width) in pixels to build for; the config's if None.
      config: the content of `config.json`; read from the checkpoint's folder, or the folder above
        it, if None.
      model_overrides: fields of ModelConfig that replace the config's.
      allow_missing: keep the initial values of weights that the checkpoint lacks.
      allow_unused: accept weights that the network has no place for.

    Raises:
      CheckpointError: the checkpoint is damaged, of another architecture, or lacks or exceeds what
        the network needs; says which.
    """
    checkpoint = ObjectGraphCheckpoint(location)
    if config is None:
        config = read_published_config(checkpoint.prefix)
    model_config, vocabulary = describe_architecture(
        config, checkpoint, image_size=image_size, overrides=model_overrides or {}
    )
    network = build_model(model_config, vocabulary)
    report = load_weights(network, checkpoint)
    _refuse(report, checkpoint.prefix, allow_missing=allow_missing, allow_unused=allow_unused)
    return PublishedModel(
        network=network,
        model_config=model_config,
        vocabulary=vocabulary,
        report=report,
        prefix=checkpoint.prefix,
    )


def read_published_config(prefix: str) -> dict[str, Any]:
    """Reads the `config.json` beside a checkpoint, or in the folder above.

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    folder = epath.Path(prefix).parent
    for place in (folder / CONFIG_FILE, folder.parent / CONFIG_FILE):
        if place.exists():
            try:
                config = json.loads(place.read_text())
            except ValueError as error:
                raise CheckpointError(f"{place} is no JSON: {error}.") from error
            if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
                raise CheckpointError(f"{place} has no section 'model'.")
            return config
    raise CheckpointError(
        f"{folder} has no {CONFIG_FILE}: it says which architecture the checkpoint is of. Copy it "
        "from where the checkpoint came from."
    )


def load_weights(network: Pix2Seq, checkpoint: ObjectGraphCheckpoint) -> ImportReport:
    """Reads every weight of the network from a checkpoint.

    Raises:
      CheckpointError: a weight's values are damaged or its shape is another one.
    """
    config = network.model_config
    used: set[str] = set()
    loaded, missing, misfits = [], [], []
    for weight in network.weights:
        in_decoder = "/decoder/" in weight.path
        source = published_source(
            weight,
            num_heads=config.num_heads_decoder if in_decoder else config.num_heads_encoder,
            shared_embedding=config.shared_embedding,
        )
        found = [checkpoint.find(*places) for places in source.weights]
        used.update(variable.key for variable in found if variable)
        missing += [
            "/".join(places[0])
            for places, variable in zip(source.weights, found, strict=True)
            if variable is None
        ]
        misfits += [
            f"{variable.path} has shape {variable.shape}, not {source.shape}"
            for variable in found
            if variable is not None and variable.shape != source.shape
        ]
        there = [variable for variable in found if variable]
        if len(there) < len(found) or misfits:
            continue
        weight.assign(source.assemble([checkpoint.values(variable) for variable in there]))
        loaded.append(weight.path)
    if misfits:
        raise CheckpointError(
            f"{checkpoint.prefix} is of another architecture than its {CONFIG_FILE} describes: "
            f"{_listed(misfits)}."
        )
    keys, num_slots = checkpoint.keys("model")
    unused = [key.split("/.ATTRIBUTES")[0] for key in keys if key not in used]
    others = sum(len(checkpoint.keys(root)[0]) for root in ("optimizer",))
    return ImportReport(
        loaded=tuple(loaded),
        missing=tuple(missing),
        unused=tuple(unused),
        num_slots=num_slots,
        num_others=others,
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
    dim_encoder, dim_decoder = model["dim_att"], model["dim_att_dec"]
    try:
        fields = {
            "backbone": "vit" if model["resnet_variant"] == "c1" else "resnet",
            "image_size": image_size or _pair(model.get("image_size", 640)),
            "num_encoder_layers": model["num_encoder_layers"],
            "dim_encoder": dim_encoder,
            # The published layers are as wide as a whole multiple of their input.
            "mlp_dim_encoder": model["dim_mlp"] // dim_encoder * dim_encoder,
            "num_heads_encoder": model["num_heads"],
            "num_decoder_layers": model["num_decoder_layers"],
            "dim_decoder": dim_decoder,
            "mlp_dim_decoder": model["dim_mlp_dec"] // dim_decoder * dim_decoder,
            "num_heads_decoder": model["num_heads_dec"],
            "bridge": model["dec_proj_mode"],
            "use_class_token": model["use_cls_token"],
            "shared_embedding": model["shared_decoder_embedding"],
            "output_bias": model["decoder_output_bias"],
            "max_seq_len": model["max_seq_len"],
            "drop_path": model.get("drop_path", 0.1),
            "drop_units": model.get("drop_units", 0.1),
            "drop_attention": model.get("drop_att", 0.0),
        }
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

    def shape(*path):
        variable = checkpoint.find(("model", *path))
        return () if variable is None else variable.shape

    fields: dict[str, Any] = {
        "dec_proj_mode": "mlp" if checkpoint.names("model", "proj_mlp") else "linear_p",
        "use_cls_token": bool(
            shape("encoder", "cls_token_emb") or shape("encoder", "cls_token_embedding")
        ),
        "shared_decoder_embedding": not shape("decoder", "inp_token_embedding"),
        "decoder_output_bias": bool(shape("decoder", "outp_bias")),
    }
    groups = list(checkpoint.names("model", "encoder", "resnet", "block_groups"))
    if groups:
        fields["resnet_variant"] = "standard" if len(groups) == 4 else "c4"
        blocks = checkpoint.names("model", "encoder", "resnet", "block_groups", "2", "layers")
        fields["resnet_depth"] = 101 if len(blocks) == 23 else 50
        first = shape("encoder", "resnet", "initial_conv_relu_max_pool", "0", "conv2d", "kernel")
        fields["resnet_width_multiplier"] = first[-1] / 64 if first else 1.0
    else:
        fields["resnet_variant"] = "c1"
        fields["patch_size"] = (shape("encoder", "stem_conv", "kernel") or (16,))[0]
    for part, layers, attention, suffix in (
        ("encoder", ("transformer_encoder", "enc_layers"), "mha", ""),
        ("decoder", ("decoder", "dec_layers"), "self_mha", "_dec"),
    ):
        fields[f"num_{part}_layers"] = len(checkpoint.names("model", part, *layers))
        query = shape(part, *layers, "0", attention, "_query_dense", "kernel")
        if query:
            fields[f"dim_att{suffix}"], fields[f"num_heads{suffix}"] = query[:2]
        mlp = shape(part, *layers, "0", "mlp", "mlp_layers", "0", "dense1", "kernel")
        if mlp:
            fields[f"dim_mlp{suffix}"] = mlp[1]
    positions = shape("decoder", "seq_pos_emb") or shape("decoder", "seq_pos_embedding")
    tokens = shape("decoder", "token_embedding") or shape("decoder", "outp_token_embedding")
    if positions and tokens:
        fields["max_seq_len"], fields["vocab_size"] = positions[0], tokens[0]
    return fields


def _refuse_other_kinds(model, config):
    task = config.get("task") or {}
    wanted = {
        "name": "encoder_ar_decoder",
        "pos_encoding": "sin_cos",
        "pos_encoding_dec": "learned",
        "resnet_sk_ratio": 0,
    }
    found = {name: model[name] for name in wanted if name in model}
    prompt = config.get("task_vocab_id", task.get("vocab_id", DETECTION_PROMPT))
    for name, value in [*found.items(), ("task.vocab_id", prompt)]:
        expected = wanted.get(name, DETECTION_PROMPT)
        if value != expected:
            raise CheckpointError(
                f"{CONFIG_FILE}: {name}={value!r}, but this network knows only {expected!r}."
            )


def _refuse(report, prefix, *, allow_missing, allow_unused):
    if len(report.missing) > len(report.loaded):
        raise CheckpointError(
            f"{prefix} is of another architecture than its {CONFIG_FILE} describes: of the "
            f"network's weights it lacks {len(report.missing)}, such as "
            f"{_listed(report.missing)}, and the network has no place for {len(report.unused)} of "
            f"its weights, such as {_listed(report.unused)}."
        )
    if report.missing and not allow_missing:
        raise CheckpointError(
            f"{prefix} lacks {len(report.missing)} of the network's weights: "
            f"{_listed(report.missing)}. Take a complete checkpoint, or allow missing weights to "
            "start from fresh ones in their place."
        )
    if report.unused and not allow_unused:
        raise CheckpointError(
            f"{prefix} holds {len(report.unused)} weights that the network of its {CONFIG_FILE} "
            f"has no place for: {_listed(report.unused)}. Check the config, or allow unused "
            "weights to leave them out."
        )


def _listed(names) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _pair(size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
