"""What was asked for: the experiment, the stages, the places. Does not use TFX."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pipelines.cloud_target import CloudTarget
from pix2seq_model.atomic_write import write_json
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.validation import enabled_stages

SCAN_FILE = "scan.json"
STAGES = ("convert", "pretrain", "finetune", "evaluate", "push")
_PROJECT_ROOT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One run of the pipeline.

    Attributes:
      config: the experiment, overrides applied.
      config_name: as a remote step loads it: path of the file, inside the project relative to it,
        with its argument behind a colon.
      overrides: like "finetune.steps=10".
      pipeline_root: folder or gs:// address of all outputs.
      stages: what to run, of `STAGES`.
      beam_args: for the conversion.
      data_version: counts as part of the data; for changes of data that cannot be seen from here.
      code_version: counts as the code's version; empty: a digest of the code itself.
      use_cache: take stages from earlier runs.
      cloud: where on Google Cloud; None runs here.
      scan: what was counted in the data of fine-tuning, what follows from it and why, as plain
        values; empty if nothing does.
    """

    config: ConfigDict
    config_name: str
    overrides: tuple[str, ...] = ()
    pipeline_root: str
    stages: tuple[str, ...] = STAGES
    beam_args: tuple[str, ...] = ()
    data_version: str = ""
    code_version: str = ""
    use_cache: bool = True
    cloud: CloudTarget | None = None
    scan: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def training_stages(self) -> tuple[str, ...]:
        """The enabled ones; pretraining is skipped if fine-tuning starts from a given model."""
        stages = enabled_stages(self.config)
        if "finetune" in stages and self.config.finetune.start_from:
            return ("finetune",)
        return stages

    @functools.cached_property
    def needed(self) -> frozenset[str]:
        """The requested stages and all that they depend on."""
        left_out = {"pretrain", "finetune"} - {*self.training_stages}
        order = [stage for stage in STAGES if stage not in left_out]
        last = max((order.index(stage) for stage in self.stages), default=-1)
        return frozenset(order[: last + 1])

    @functools.cached_property
    def converted(self) -> tuple[str, ...]:
        """The training stages that need converted data."""
        return tuple(
            s for s in self.training_stages if s in self.needed or "convert" in self.stages
        )

    @property
    def target(self) -> CloudTarget:
        """`cloud`, of a request that is for Google Cloud."""
        if self.cloud is None:
            raise ValueError("this request is for a run on this machine")
        return self.cloud

    @property
    def pipeline_name(self) -> str:
        """The config's name as Vertex AI takes it: lower case letters, digits and dashes."""
        return "pix2seq-" + re.sub(r"[^a-z0-9]+", "-", self.config.name.lower()).strip("-")

    @property
    def scan_file(self) -> str:
        """Where `scan` is kept: in the folder of the records of fine-tuning."""
        return f"{self.pipeline_root}/FinetuneExamples/{SCAN_FILE}"

    def write_scan(self) -> None:
        """Writes `scan`, if there is any."""
        if self.scan:
            write_json(self.scan_file, self.scan, indent=1)

    def place(self, address: str) -> str:
        """An address as it is written down: on this machine the absolute path."""
        if self.cloud is not None or "://" in address:
            return address
        return str(Path(address).absolute())

    def overrides_of(self, sections: Sequence[str]) -> list[str]:
        """The overrides of settings in some sections."""
        return [
            override
            for override in self.overrides
            if any(f"{override.partition('=')[0]}.".startswith(f"{s}.") for s in sections)
        ]


def parse_stages(names: Sequence[str], config: ConfigDict) -> tuple[str, ...]:
    """Checks names of stages; none named means all that the config enables.

    Raises:
      ConfigError: an unknown name, or a training stage that the config leaves out.
    """
    request = Request(config=config, config_name="", pipeline_root="")
    left_out = {"pretrain", "finetune"} - set(request.training_stages)
    for name in names:
        if name not in STAGES:
            raise ConfigError(f"--stages: {name!r} is none of {', '.join(STAGES)}.")
        if name in left_out:
            reason = "finetune.start_from names the model to start from"
            if not config[name].enabled:
                reason = f"{name}.enabled is false"
            raise ConfigError(f"--stages: {name} is not part of this config ({reason}).")
    chosen = names or STAGES
    return tuple(stage for stage in STAGES if stage in chosen and stage not in left_out)


def portable_config_name(name: str) -> str:
    """`configs/demo.py` for any way of writing the path of that file; other files stay absolute."""
    path, colon, argument = name.partition(":")
    found = Path(path) if Path(path).is_file() else _PROJECT_ROOT / path
    resolved = found.resolve()
    if resolved.is_relative_to(_PROJECT_ROOT):
        resolved = resolved.relative_to(_PROJECT_ROOT)
    return f"{resolved.as_posix()}{colon}{argument}"
