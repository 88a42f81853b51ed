"""What of a config concerns the pipeline alone: where weights come from, where the blessed model
goes, the machines of a run on Vertex AI. Needs no TensorFlow.
"""

import dataclasses
import re
from collections.abc import Mapping

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.machines import AUTO, MACHINES, NO_PRESET
from pix2seq_model.setting_checks import check_settings, setting

_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSource:
    """Whether a stage is trained, and from what.

    Attributes:
      enabled: it is part of the experiment.
      start_from: model folder, or checkpoint in the published layout, to take the weights from;
        empty: the stage before, or random weights.
      recipe: whose length, batch, learning rate, schedule, warm-up, jitter and what else its
        `config.json` names the stage takes, see `recipes`: "published", which is the published
        checkpoint of this architecture at this size; or a folder, that of a checkpoint in the
        published layout or of a model imported from one. Empty: the config's own values.
    """

    enabled: bool = True
    start_from: str = ""
    recipe: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """A Vertex AI endpoint that serves the pushed model too.

    Attributes:
      name: made if absent; empty: none.
      project, region: empty: those of the job.
      machine_type, accelerator_type, accelerator_count: of each replica.
      min_replicas, max_replicas: between which Vertex AI scales.
      serving_image: what serves the SavedModel: one of Vertex AI's own images, or TensorFlow
        Serving's.
    """

    name: str = ""
    project: str = ""
    region: str = ""
    machine_type: str = "n1-standard-4"
    accelerator_type: str = "NVIDIA_TESLA_T4"
    accelerator_count: int = setting(0, at_least=0)
    min_replicas: int = setting(1, at_least=1)
    max_replicas: int = setting(1, at_least=1)
    serving_image: str = "europe-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"

    def __post_init__(self) -> None:
        check_settings(self, "push.endpoint")
        if self.min_replicas > self.max_replicas:
            raise ConfigError(
                f"push.endpoint.min_replicas={self.min_replicas} exceeds push.endpoint."
                f"max_replicas={self.max_replicas}: raise max_replicas."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PushSettings:
    """Where a blessed model goes.

    Attributes:
      destination: folder or bucket; empty: <pipeline_root>/serving_model.
      endpoint: that serves it too.
    """

    destination: str = ""
    endpoint: EndpointSettings = dataclasses.field(default_factory=EndpointSettings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataflowMachines:
    """The conversion with --runner=DataflowRunner; flags of Beam's own go before these.

    Attributes:
      image: empty: that of the steps.
      region: empty: that of the job.
      machine_type, disk_size_gb: of each worker.
      max_num_workers: how many at most.
    """

    image: str = ""
    region: str = ""
    machine_type: str = "n2-standard-4"
    max_num_workers: int = setting(20, at_least=1)
    disk_size_gb: int = setting(50, at_least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingMachines:
    """A training stage, which is a custom job.

    Attributes:
      preset: a machine by its name in `machines`, which then sets these machines, `max_days`, and
        precision, activation checkpointing and accumulation of each stage, so that its batch fits;
        "auto": eight A100 of 40 GB if there is pretraining, else one; "none": all as it stands.
        What is given besides stays.
      machine_type, accelerator_type, accelerator_count, disk_size_gb: of each worker.
      worker_count: how many.
      spot: cheaper machines that can be taken away.
      restart: start the job again when a worker restarts; it continues from its checkpoints.
      max_days: after which Vertex AI stops it.
    """

    preset: str = setting(AUTO, one_of=(AUTO, NO_PRESET, *MACHINES))
    machine_type: str = "a2-highgpu-1g"
    accelerator_type: str = "NVIDIA_TESLA_A100"
    accelerator_count: int = setting(1, at_least=0)
    worker_count: int = setting(1, at_least=1)
    disk_size_gb: int = setting(200, at_least=1)
    spot: bool = False
    restart: bool = True
    max_days: float = setting(7.0, above=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationMachine:
    """The machine of the evaluation step.

    Attributes:
      cpus, memory_gb: processor cores and memory.
      accelerator_type, accelerator_count: of the machine; a count of 0 is none.
    """

    cpus: float = setting(8.0, above=0)
    memory_gb: float = setting(32.0, above=0)
    accelerator_type: str = "NVIDIA_TESLA_T4"
    accelerator_count: int = setting(1, at_least=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CloudSettings:
    """The machines of a run on Vertex AI; unused on a laptop.

    Attributes:
      service_account: that all jobs run as; empty: the project's default.
      labels: of every job, as --config.cloud.labels.team=vision.
      dataflow, training, evaluation: the machines of these steps.
    """

    service_account: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"pipeline": "pix2seq"})
    dataflow: DataflowMachines = dataclasses.field(default_factory=DataflowMachines)
    training: TrainingMachines = dataclasses.field(default_factory=TrainingMachines)
    evaluation: EvaluationMachine = dataclasses.field(default_factory=EvaluationMachine)

    def __post_init__(self) -> None:
        check_settings(self, "cloud")
        for name, value in self.labels.items():
            if not _LABEL.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
                raise ConfigError(
                    f"cloud.labels.{name}={value}: a label and its value are at most 63 lower case "
                    "letters, digits, dashes and underscores, and the label begins with a letter."
                )
