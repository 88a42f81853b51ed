"""The pipeline as a job file for Vertex AI, with Dataflow's arguments for the conversion."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli.command_line import local_beam_args
from pipelines.cloud_target import CloudTarget
from pipelines.request import Request
from pix2seq_model.errors import ConfigError

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline


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

    path = job_path(request, job_file)
    runner_config = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        default_image=request.target.image
    )
    pipeline = create_pipeline(request)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        kubeflow_v2_dag_runner.KubeflowV2DagRunner(
            runner_config, output_dir=str(path.parent), output_filename=path.name
        ).run(pipeline, parameter_values=_defaults(pipeline))
    except OSError as error:
        raise ConfigError(f"--job_file={path} cannot be written: {error.strerror}.") from error
    return path


def _defaults(pipeline: "Pipeline") -> dict[str, str]:
    """The values of the job's parameters, which TFX's compiler leaves out of the file."""
    from tfx.orchestration.data_types import RuntimeParameter

    return {
        value.name: str(value.default or "")
        for node in pipeline.components
        for value in node.exec_properties.values()
        if isinstance(value, RuntimeParameter)
    }


def job_path(request: Request, job_file: str) -> Path:
    """Where the job is written; "" is for `<pipeline name>.json` in the working folder."""
    return Path(job_file or f"{request.pipeline_name}.json").absolute()


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
    machines = request.config.cloud
    cloud = CloudTarget(
        project=google.project, region=google.region, image=image, machines=machines
    )
    beam_args = request.beam_args
    if options.view_as(StandardOptions).runner == "DataflowRunner":
        beam_args = _dataflow_args(
            beam_args,
            cloud,
            temp_location=f"{request.pipeline_root}/beam_temp",
            labels=cloud.labels(request.pipeline_name),
        )
    else:
        beam_args = local_beam_args(beam_args)  # In the step's own container.
    return dataclasses.replace(request, beam_args=beam_args, cloud=cloud)


def _dataflow_args(
    given: tuple[str, ...], cloud: CloudTarget, *, temp_location: str, labels: dict[str, str]
) -> tuple[str, ...]:
    """Beam's arguments with those of the config that were not given."""
    wanted = cloud.machines.dataflow
    defaults = {
        "temp_location": temp_location,
        "sdk_container_image": wanted.image or cloud.image,
        # Workers find Beam in the image; nothing is installed when they start.
        "sdk_location": "container",
        # Dataflow is told no list of the packages that are installed here.
        "experiments": "disable_logging_submission_environment",
        "max_num_workers": str(wanted.max_num_workers),
    }
    if not {"worker_machine_type", "machine_type"} & _names(given):
        defaults["worker_machine_type"] = wanted.machine_type
    if not {"worker_disk_size_gb", "disk_size_gb"} & _names(given):
        defaults["disk_size_gb"] = str(wanted.disk_size_gb)
    if cloud.machines.service_account:
        defaults["service_account_email"] = cloud.machines.service_account
    region = (f"--region={wanted.region}",) if wanted.region else ()  # The last one counts.
    return (
        *(f"--{name}={value}" for name, value in defaults.items() if name not in _names(given)),
        *(f"--labels={name}={value}" for name, value in labels.items()),
        *given,
        *region,
    )


def parameters_of(job_file: Path) -> dict[str, str]:
    """The parameters that a submission of a job file may set, and their defaults.

    Raises:
      ConfigError: the file cannot be read.
    """
    try:
        job = json.loads(job_file.read_text())
        named = job["pipelineSpec"]["root"].get("inputDefinitions", {}).get("parameters", {})
        defaults = job["runtimeConfig"].get("parameters", {})
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"--job_file={job_file} is no job file ({type(error).__name__}): write it first, "
            "without --nocompile."
        ) from None
    return {name: defaults.get(name, {}).get("stringValue", "") for name in sorted(named)}


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


def _names(beam_args: tuple[str, ...]) -> set[str]:
    return {argument.lstrip("-").partition("=")[0] for argument in beam_args}
