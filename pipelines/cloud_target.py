"""Where on Google Cloud the steps of a run work: project, region, image and each step's machine."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from components.storage.worker_lifetime import BEAM_ARGUMENT
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.estimate import USABLE_FRACTION
from pix2seq_model.experiment.settings import ANY, FLEX_START, STANDARD

CONFIG_LABEL = "pix2seq-config"
_LABEL_LENGTH = 63
_DAY_S = 86_400


@dataclasses.dataclass(frozen=True, kw_only=True)
class CloudTarget:
    """Where on Google Cloud the steps run.

    Attributes:
      project: id of the project.
      region: such as europe-west4; of Vertex AI and Dataflow alike.
      image: container image with this project, of all steps and of Dataflow's workers.
      machines: the config's `cloud` section.
    """

    project: str
    region: str
    image: str
    machines: ConfigDict

    def labels(self, config_name: str) -> dict[str, str]:
        """The labels of every job and model of an experiment."""
        return {**self.machines.labels.to_dict(), CONFIG_LABEL: config_name[:_LABEL_LENGTH]}

    def training_job(self, stage: str, name: str, *, backend: str) -> dict[str, Any]:
        """What a trainer's `custom_config` says of the custom job: its machines and image.

        Args:
          stage: pretrain or finetune.
          name: of the pipeline.
          backend: of Keras.

        Raises:
          ConfigError: the backend does not compute on TPUs.
        """
        from tfx.extensions.google_cloud_ai_platform import constants
        from tfx.extensions.google_cloud_ai_platform.trainer.executor import TRAINING_ARGS_KEY

        wanted = self.machines.training
        names = ["machine_type"]
        if wanted.tpu_topology:
            names += ["tpu_topology"]  # With the type it says how many chips there are.
            if backend != "jax":
                raise ConfigError(
                    f"cloud.training.tpu_topology={wanted.tpu_topology}: {backend} does not "
                    "compute on TPUs here; train with KERAS_BACKEND=jax."
                )
        elif wanted.accelerator_count:
            names += ["accelerator_type", "accelerator_count"]
        machine = {name: wanted[name] for name in names}
        if wanted.reservation:
            machine["reservation_affinity"] = _affinity(wanted.reservation)
        # Vertex AI's first pool is the chief; all others are workers, and each finds its place in
        # TF_CONFIG, which Vertex AI sets. TFX sets the command.
        environment = {"KERAS_BACKEND": backend}
        if backend == "jax" and wanted.accelerator_count and not wanted.tpu_topology:
            # JAX would take three quarters of an accelerator's memory and no more.
            environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = str(USABLE_FRACTION)
        counts = [1] if wanted.worker_count == 1 else [1, wanted.worker_count - 1]
        pools = [
            {
                "machine_spec": machine,
                "replica_count": count,
                "disk_spec": {"boot_disk_size_gb": wanted.disk_size_gb},
                "container_spec": {
                    "image_uri": self.image,
                    "env": [{"name": name, "value": v} for name, v in environment.items()],
                },
            }
            for count in counts
        ]
        scheduling: dict[str, Any] = {
            "restart_job_on_worker_restart": wanted.restart,
            "timeout": {"seconds": round(wanted.max_days * _DAY_S)},
        }
        if wanted.strategy != STANDARD:
            # Spot machines may be taken away; the job starts again from its last checkpoint.
            scheduling["strategy"] = wanted.strategy.upper()
        if wanted.strategy == FLEX_START:
            scheduling["max_wait_duration"] = {"seconds": round(wanted.max_wait_hours * 3600)}
        job: dict[str, Any] = {"worker_pool_specs": pools, "scheduling": scheduling}
        for field in ("service_account", "network", "tensorboard"):
            if self.machines[field]:
                job[field] = self.machines[field]
        if self.machines.network_attachment:
            job["psc_interface_config"] = {"network_attachment": self.machines.network_attachment}
        encryption = {}
        if self.machines.encryption_key:
            encryption["encryption_spec"] = {"kms_key_name": self.machines.encryption_key}
        return {
            "accelerators": wanted.accelerator_count,
            constants.ENABLE_VERTEX_KEY: True,
            constants.VERTEX_REGION_KEY: self.region,
            TRAINING_ARGS_KEY: {
                "project": self.project,
                "display_name": f"{name}-{stage}",
                "job_spec": job,
                "labels": self.labels(name),
                **encryption,
            },
        }

    @property
    def workers_in_step(self) -> list[str]:
        """Beam's arguments of a conversion in its step: a process for each core."""
        cpus = self.machines.conversion.cpus
        mode = "--direct_running_mode=multi_processing"
        return [f"--direct_num_workers={cpus}", mode, BEAM_ARGUMENT]

    def conversion_resources(self) -> Any:
        """The machine of a conversion that runs in its step."""
        return _resources(self.machines.conversion)

    @property
    def evaluation_accelerators(self) -> str:
        """How many GPUs the evaluation step has, as its setting."""
        return str(self.machines.evaluation.accelerator_count)

    def evaluation_resources(self, *, accelerator: bool) -> Any:
        """The machine of the evaluation step, and, without accelerator, of its report."""
        machine = self.machines.evaluation
        spec = _resources(machine)
        if accelerator and machine.accelerator_count:
            spec.accelerator.type = machine.accelerator_type
            spec.accelerator.count = machine.accelerator_count
        return spec


def _resources(machine: ConfigDict) -> Any:
    from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineDeploymentConfig

    kind = PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec
    return kind(cpu_limit=machine.cpus, memory_limit=machine.memory_gb)


def _affinity(reservation: str) -> dict[str, Any]:
    """Of a machine to a reservation, in the words of Vertex AI's API."""
    if reservation == ANY:
        return {"reservation_affinity_type": "ANY_RESERVATION"}
    return {
        "reservation_affinity_type": "SPECIFIC_RESERVATION",
        "key": "compute.googleapis.com/reservation-name",
        "values": [reservation],
    }
