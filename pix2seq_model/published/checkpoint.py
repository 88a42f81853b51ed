"""Loading the published Pix2Seq checkpoints."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from pix2seq_model.errors import CheckpointError
from pix2seq_model.network.pix2seq import Pix2Seq, build_model
from pix2seq_model.published.architecture import describe_architecture, read_published_config
from pix2seq_model.published.locations import CONFIG_FILE
from pix2seq_model.published.object_graph import ObjectGraphCheckpoint
from pix2seq_model.published.weight_names import published_source

_LISTED = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportReport:
    """The result for every weight.

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
        lines.append(f"not read: {self.num_slots} optimizer slots, {self.num_others} counters")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A loaded checkpoint; `config` is what its `config.json` says."""

    network: Pix2Seq
    report: ImportReport
    prefix: str
    config: dict[str, Any]


def load_published_checkpoint(
    location: str,
    *,
    image_size: tuple[int, int] | None = None,
    config: dict[str, Any] | None = None,
    model_overrides: dict[str, Any] | None = None,
    allow_missing: bool = False,
    allow_unused: bool = False,
) -> PublishedModel:
    """Builds the network that `config.json` describes and loads the weights next to it.

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
    return PublishedModel(network=network, report=report, prefix=checkpoint.prefix, config=config)


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
        found = []
        for places in source.weights:
            variable = checkpoint.find(*places)
            if variable is None:
                missing.append("/".join(places[0]))
                continue
            found.append(variable)
            if variable.shape != source.shape:
                misfits.append(f"{variable.path} has shape {variable.shape}, not {source.shape}")
        used.update(variable.key for variable in found)
        if len(found) == len(source.weights) and not misfits:
            weight.assign(source.assemble([checkpoint.values(variable) for variable in found]))
            loaded.append(weight.path)
    if misfits:
        raise CheckpointError(
            f"{checkpoint.prefix} is of another architecture than its {CONFIG_FILE} describes: "
            f"{_listed(misfits)}."
        )
    keys, num_slots = checkpoint.keys("model")
    unused = [key.split("/.ATTRIBUTES")[0] for key in keys if key not in used]
    return ImportReport(
        loaded=tuple(loaded),
        missing=tuple(missing),
        unused=tuple(unused),
        num_slots=num_slots,
        num_others=len(checkpoint.keys("optimizer")[0]),
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


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
