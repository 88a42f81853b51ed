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
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_EXPERIMENT = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
# What names of Google's resources look like; words in capitals stand for anything.
_RESOURCES = {
    "tensorboard": "projects/PROJECT/locations/REGION/tensorboards/NUMBER",
    "network": "projects/PROJECT_NUMBER/global/networks/NAME",
    "network_attachment": "projects/PROJECT/regions/REGION/networkAttachments/NAME",
    "encryption_key": "projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY",
}
_RESERVATION = "projects/PROJECT/zones/ZONE/reservations/NAME"
# How Vertex AI may find machines; `ANY` takes any reservation that fits.
STANDARD, SPOT, FLEX_START = "standard", "spot", "flex_start"
ANY = "any"
_MAX_WAIT_HOURS, _FLEX_START_DAYS = 24.0, 7
_FLEXIBLE = re.compile("NVIDIA_.*(L4|A100|H100|H200|B200)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSource:
    """Whether a stage is trained, and from what.

    Attributes:
      enabled: it is part of the experiment.
      start_from: model folder, pushed version, or checkpoint in the published layout, to take the
        weights from; of a folder of pushed versions on this machine the newest. Empty: the stage
        before, or random weights.
      recipe: whose length, batch, learning rate, schedule, warm-up, jitter and what else its
        `config.json` names the stage takes, see `recipes`: "published", which is the published
        checkpoint of this architecture at this size; or a folder, that of a checkpoint in the
        published layout or of a model imported from one. Empty: the config's own values.
      epochs: passes over the training images, which where a command is given become `steps`; 0:
        the steps as they stand.
    """

    enabled: bool = True
    start_from: str = ""
    recipe: str = ""
    epochs: float = setting(0.0, at_least=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnDataSettings:
    """Within which limits a scan of the annotation files settles what follows from the data.

    Attributes:
      scan: settle it, where a command is given, see `own_data`; false: the config's own values.
      machine: what the size is made for, in words.
      image_sides: of the network's square image to choose from, pixels, ascending.
      box_pixels: side of the median box in the network's image: the least of image_sides at which
        it is as large is taken.
      max_objects: of a sequence, at most.
      batch_size: of a step, at most.
      passes: over the training images, from which the number of steps follows ...
      min_steps, max_steps: ... between these.
      minutes: that training may take at megapixels_per_second, even if min_steps takes longer;
        0 is off.
      megapixels_per_second: that the machine trains on, counted in the network's image.
      warmup_steps: at most; fewer where these are more than a tenth of the steps.
      learning_rate, start_learning_rate: from random weights, and from trained ones.

    Raises:
      ConfigError: a value that cannot work.
    """

    scan: bool = False
    machine: str = ""
    image_sides: tuple[int, ...] = setting((640,), at_least=16)
    box_pixels: int = setting(32, at_least=1)
    max_objects: int = setting(100, at_least=1)
    batch_size: int = setting(32, at_least=1)
    passes: int = setting(100, at_least=1)
    min_steps: int = setting(1000, at_least=1)
    max_steps: int = setting(100_000, at_least=1)
    minutes: float = setting(0.0, at_least=0)
    megapixels_per_second: float = setting(1.0, above=0)
    warmup_steps: int = setting(1000, at_least=0)
    learning_rate: float = setting(1e-4, above=0)
    start_learning_rate: float = setting(3e-5, above=0)

    def __post_init__(self) -> None:
        check_settings(self, "own_data")
        if not self.image_sides or list(self.image_sides) != sorted(self.image_sides):
            raise ConfigError(
                f"own_data.image_sides={self.image_sides} must be one side or several, ascending."
            )
        if self.min_steps > self.max_steps:
            raise ConfigError(
                f"own_data.min_steps={self.min_steps} exceeds own_data.max_steps={self.max_steps}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegistrySettings:
    """The Model Registry of Vertex AI, where every pushed model becomes a version.

    Attributes:
      name: of the model there, made if absent; empty: the endpoint's, or none without an endpoint.
      alias: of the version that was pushed last, besides "default"; empty: the config's name.
      project, region: empty: those of the job.
      serving_image: what serves the SavedModel: one of Vertex AI's own images, or TensorFlow
        Serving's.
    """

    name: str = ""
    alias: str = ""
    project: str = ""
    region: str = ""
    serving_image: str = "europe-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"

    def __post_init__(self) -> None:
        check_settings(self, "push.registry")
        if self.alias and not _ALIAS.fullmatch(self.alias):
            raise ConfigError(
                f"push.registry.alias={self.alias}: at most 128 letters, digits and dashes; it "
                "begins with a lower case letter and does not end with a dash."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """A Vertex AI endpoint that serves the pushed model too.

    Attributes:
      name: made if absent, in the registry's project and region; empty: none.
      machine_type, accelerator_type, accelerator_count: of each replica.
      min_replicas, max_replicas: between which Vertex AI scales.
    """

    name: str = ""
    machine_type: str = "n1-standard-4"
    accelerator_type: str = "NVIDIA_TESLA_T4"
    accelerator_count: int = setting(0, at_least=0)
    min_replicas: int = setting(1, at_least=1)
    max_replicas: int = setting(1, at_least=1)

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
      registry: that keeps it too.
      endpoint: that serves it too.
    """

    destination: str = ""
    registry: RegistrySettings = dataclasses.field(default_factory=RegistrySettings)
    endpoint: EndpointSettings = dataclasses.field(default_factory=EndpointSettings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataflowMachines:
    """The conversion with --runner=DataflowRunner; flags of Beam's own go before these.

    Attributes:
      image: empty: that of the steps.
      region: empty: that of the job.
      machine_type, disk_size_gb: of each worker.
      max_num_workers: how many at most.
      subnetwork: of the workers, as regions/REGION/subnetworks/NAME; empty: the default one.
      public_ips: workers have addresses in the internet; without, the subnetwork needs Private
        Google Access.
      service_options: of the service, as ("enable_prime",).
    """

    image: str = ""
    region: str = ""
    machine_type: str = "n2-standard-4"
    max_num_workers: int = setting(20, at_least=1)
    disk_size_gb: int = setting(50, at_least=1)
    subnetwork: str = ""
    public_ips: bool = True
    service_options: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConversionMachine:
    """The machine of the conversion's step with --runner=DirectRunner, for small data sets.

    Attributes:
      cpus, memory_gb: processor cores, each with a worker, and memory.
    """

    cpus: int = setting(8, at_least=1)
    memory_gb: float = setting(32.0, above=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingMachines:
    """A training stage, which is a custom job.

    Attributes:
      preset: a machine by its name in `machines`, which then sets these machines, `max_days`, and
        precision, activation checkpointing and accumulation of each stage, so that its batch fits;
        "auto": eight A100 of 40 GB if there is pretraining, else one; "none": all as it stands.
        What is given besides stays.
      machine_type, accelerator_type, accelerator_count, disk_size_gb: of each worker.
      tpu_topology: of a TPU machine, as 2x4; accelerator_count is then that of its chips.
      worker_count: how many.
      strategy: how the machines are found: "standard"; "spot", cheaper ones that can be taken away;
        "flex_start", which waits until all are free, for at most 7 days of training.
      max_wait_hours: for machines, with "flex_start"; 0 waits without end.
      reservation: of Compute Engine, that the machines are taken from: its full name, or "any".
      restart: start the job again when a worker restarts; it continues from its checkpoints.
      max_days: after which Vertex AI stops it.
    """

    preset: str = setting(AUTO, one_of=(AUTO, NO_PRESET, *MACHINES))
    machine_type: str = "a2-highgpu-1g"
    accelerator_type: str = "NVIDIA_TESLA_A100"
    accelerator_count: int = setting(1, at_least=0)
    tpu_topology: str = ""
    worker_count: int = setting(1, at_least=1)
    disk_size_gb: int = setting(200, at_least=1)
    strategy: str = setting(STANDARD, one_of=(STANDARD, SPOT, FLEX_START))
    max_wait_hours: float = setting(_MAX_WAIT_HOURS, at_least=0)
    reservation: str = ""
    restart: bool = True
    max_days: float = setting(7.0, above=0)

    def __post_init__(self) -> None:
        check_settings(self, "cloud.training")
        if self.reservation != ANY:
            _check_resource("training.reservation", self.reservation, _RESERVATION)
        if self.reservation and self.strategy != STANDARD:
            raise ConfigError(
                f"cloud.training.reservation: machines of a reservation are not found by "
                f"strategy={self.strategy}; leave one of the two out."
            )
        if self.tpu_topology and self.worker_count > 1:
            raise ConfigError(
                f"cloud.training.worker_count={self.worker_count}: training on TPUs takes one "
                "machine; give worker_count=1."
            )
        if self.strategy != FLEX_START:
            if self.max_wait_hours != _MAX_WAIT_HOURS:
                raise ConfigError(
                    "cloud.training.max_wait_hours is for strategy=flex_start alone, and strategy "
                    f"is {self.strategy}."
                )
        elif self.max_days > _FLEX_START_DAYS:
            raise ConfigError(
                f"cloud.training.max_days={self.max_days:g}: with strategy=flex_start Vertex AI "
                f"trains for at most {_FLEX_START_DAYS} days; give max_days={_FLEX_START_DAYS} if "
                "that is enough, or another strategy."
            )
        elif self.tpu_topology or not (
            self.accelerator_count and _FLEXIBLE.match(self.accelerator_type)
        ):
            raise ConfigError(
                "cloud.training.strategy=flex_start waits for GPUs of kind L4, A100, H100, H200 or "
                "B200, and this machine has none; give another strategy."
            )


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
      budget_usd: training that is estimated to cost more is not submitted; 0 is off.
      tensorboard: of Vertex AI, that shows training while it runs: its full name, in the job's
        region; needs a service_account.
      experiment: of Vertex AI Experiments, that every run becomes part of; made if absent.
      network: that steps and training are peered with, as
        projects/PROJECT_NUMBER/global/networks/NAME.
      network_attachment: through which they reach a network instead, by Private Service Connect.
      encryption_key: of yours, for runs, training, models, endpoints and Dataflow, as
        projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY.
      retries: how often a failed step is tried again; one that cannot work is not.
      dataflow, conversion: the machines of the conversion, on Dataflow or in its step.
      training, evaluation: the machines of these steps.
    """

    service_account: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"pipeline": "pix2seq"})
    budget_usd: float = setting(0.0, at_least=0)
    tensorboard: str = ""
    experiment: str = ""
    network: str = ""
    network_attachment: str = ""
    encryption_key: str = ""
    retries: int = setting(2, at_least=0, at_most=10)
    dataflow: DataflowMachines = dataclasses.field(default_factory=DataflowMachines)
    conversion: ConversionMachine = dataclasses.field(default_factory=ConversionMachine)
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
        for name, like in _RESOURCES.items():
            _check_resource(name, getattr(self, name), like)
        if self.experiment and not _EXPERIMENT.fullmatch(self.experiment):
            raise ConfigError(
                f"cloud.experiment={self.experiment}: a name is at most 128 lower case letters, "
                "digits and dashes, and does not begin with a dash."
            )
        if self.tensorboard and not self.service_account:
            raise ConfigError(
                "cloud.tensorboard needs a service account, as which Vertex AI reads the logs: "
                "give cloud.service_account=NAME@PROJECT.iam.gserviceaccount.com."
            )
        if self.network and self.network_attachment:
            raise ConfigError(
                "cloud.network and cloud.network_attachment are two ways into a network: give one."
            )


def _check_resource(name: str, value: str, like: str) -> None:
    if value and not re.fullmatch(re.sub("[A-Z_]+", "[^/]+", like), value):
        raise ConfigError(f"cloud.{name}={value} must be the full name, like {like}.")
