"""The pipeline as a job file for Vertex AI: machines, images, and Dataflow for the conversion."""

import dataclasses
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pipelines.command_line import local_beam_args
from pipelines.request import Request
from pix2seq_model.errors import ConfigError


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

    def trainer_class(self) -> type:
        """TFX's Trainer that starts a custom job on Vertex AI."""
        from tfx.extensions.google_cloud_ai_platform.trainer.component import Trainer

        return Trainer

    def training_job(self, stage: str) -> dict[str, Any]:
        """What that Trainer reads of its `custom_config`: the custom job's machines and image."""
        from tfx.extensions.google_cloud_ai_platform.constants import (
            ENABLE_VERTEX_KEY,
            VERTEX_REGION_KEY,
        )
        from tfx.extensions.google_cloud_ai_platform.trainer.executor import TRAINING_ARGS_KEY

        wanted = self.machines.training
        machine: dict[str, Any] = {"machine_type": wanted.machine_type}
        if wanted.accelerator_count:
            machine["accelerator_type"] = wanted.accelerator_type
            machine["accelerator_count"] = wanted.accelerator_count
        # Vertex AI's first pool is the chief; all others are workers. TFX sets the command.
        counts = [1] if wanted.worker_count == 1 else [1, wanted.worker_count - 1]
        pools = [
            {
                "machine_spec": machine,
                "replica_count": count,
                "container_spec": {"image_uri": self.image},
            }
            for count in counts
        ]
        job: dict[str, Any] = {"worker_pool_specs": pools}
        if wanted.spot:
            # Taken away at any time; the job is started again and goes on from its checkpoints.
            job["scheduling"] = {"strategy": "SPOT", "restart_job_on_worker_restart": True}
        if self.machines.service_account:
            job["service_account"] = self.machines.service_account
        return {
            ENABLE_VERTEX_KEY: True,
            VERTEX_REGION_KEY: self.region,
            TRAINING_ARGS_KEY: {
                "project": self.project,
                "display_name": f"pix2seq-{stage}",
                "job_spec": job,
            },
        }

    def evaluation_resources(self) -> Any:
        """The evaluation step's machine."""
        from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineDeploymentConfig

        wanted = self.machines.evaluation
        spec = PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec(
            cpu_limit=wanted.cpus, memory_limit=wanted.memory_gb
        )
        if wanted.accelerator_count:
            spec.accelerator.type = wanted.accelerator_type
            spec.accelerator.count = wanted.accelerator_count
        return spec


def write_job(request: Request, *, job_file: str) -> Path:
    """Compiles the pipeline to a job file, without touching the network.

    Args:
      request: completed by `on_cloud`.
      job_file: where to write; "" for `<pipeline name>.json` in the working folder.

    Returns:
      The file.

    Raises:
      ConfigError: the file cannot be written.
    """
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    from pipelines.pipeline import create_pipeline

    path = Path(job_file or f"{request.pipeline_name}.json").absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        kubeflow_v2_dag_runner.KubeflowV2DagRunner(
            kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(default_image=request.cloud.image),
            output_dir=str(path.parent),
            output_filename=path.name,
        ).run(create_pipeline(request))
    except OSError as error:
        raise ConfigError(f"--job_file={path} cannot be written: {error.strerror}.") from error
    return path


def on_cloud(request: Request, *, image: str) -> Request:
    """Checks a request for Vertex AI and completes it: cloud target, Dataflow's arguments.

    Args:
      request: `beam_args` name `--project` and `--region`, and the runner of the conversion.
      image: container image of all steps.

    Raises:
      ConfigError: a flag or a setting is missing or cannot work; names it.
    """
    from apache_beam.options.pipeline_options import (
        GoogleCloudOptions,
        PipelineOptions,
        StandardOptions,
    )

    options = PipelineOptions(list(request.beam_args))
    google = options.view_as(GoogleCloudOptions)
    _require(
        {
            "--image": (image, "the container image that holds this project"),
            "--project": (google.project, "the id of the Google Cloud project"),
            "--region": (google.region, "the region, such as europe-west4"),
        }
    )
    if not request.pipeline_root.startswith("gs://"):
        raise ConfigError(
            f"--pipeline_root={request.pipeline_root}: Vertex AI writes to a bucket; give a place "
            "like gs://bucket/folder."
        )
    if request.config_name.startswith("/"):
        raise ConfigError(
            f"--config={request.config_name}: on Vertex AI the config is read from the image, and "
            "this file lies outside the project. Move it to configs/ and build the image again."
        )
    beam_args = request.beam_args
    if options.view_as(StandardOptions).runner == "DataflowRunner":
        beam_args = (
            *_defaults(
                beam_args,
                temp_location=f"{request.pipeline_root}/beam_temp",
                sdk_container_image=image,
            ),
            *beam_args,
        )
    else:
        beam_args = local_beam_args(beam_args)  # In the step's own container.
    return dataclasses.replace(
        request,
        beam_args=beam_args,
        cloud=CloudTarget(
            project=google.project,
            region=google.region,
            image=image,
            machines=request.config.cloud,
        ),
    )


def places_on_this_machine(request: Request) -> list[str]:
    """The settings whose place a step on Vertex AI cannot reach, as "name=place"."""
    places = {f"{s}.start_from": request.config[s].start_from for s in request.training_stages}
    places["push.destination"] = request.config.push.destination
    for stage in request.converted:
        source = request.config.data[stage]
        for kind in ("images", "annotations"):
            places |= {f"data.{stage}.{kind}.{split}": p for split, p in source[kind].items()}
    # Vertex AI shows buckets as folders below /gcs/ too.
    return [
        f"{name}={place}"
        for name, place in places.items()
        if place and not place.startswith(("gs://", "/gcs/"))
    ]


def _require(flags: dict[str, tuple[str | None, str]]) -> None:
    missing = [f"{flag} ({meaning})" for flag, (value, meaning) in flags.items() if not value]
    if missing:
        raise ConfigError(f"--orchestrator=vertex needs {', '.join(missing)}.")


def _defaults(beam_args: tuple[str, ...], **values: str) -> list[str]:
    given = {argument.lstrip("-").partition("=")[0] for argument in beam_args}
    return [f"--{name}={value}" for name, value in values.items() if name not in given]
