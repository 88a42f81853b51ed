"""The pipeline as a job file for Vertex AI, with Dataflow's arguments for the conversion."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from components.data_places import with_places
from pipelines.cli.command_line import NO_MAIN_SESSION, local_beam_args
from pipelines.cloud_target import CloudTarget
from pipelines.request import Request
from pix2seq_model.errors import ConfigError
from pix2seq_model.json_file import read_json

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline


# Runners that convert in the step's own container.
_IN_STEP = ("DirectRunner", "FnApiRunner")
# Settings of `cloud` that name a thing in a region, which must be the job's.
_IN_REGION = ("tensorboard", "network_attachment", "encryption_key")
# Beam's arguments that have two names.
_OTHER_NAMES = {"worker_machine_type": "machine_type", "disk_size_gb": "worker_disk_size_gb"}


def write_job(request: Request, path: Path) -> None:
    """Compiles the pipeline to a job file, without touching the network.

    Args:
      request: completed by `on_cloud`.
      path: where to write.

    Raises:
      ConfigError: the file cannot be written.
    """
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as vertex

    from pipelines.pipeline import create_pipeline
    from pipelines.vertex.completed_job import complete_job

    image = vertex.KubeflowV2DagRunnerConfig(default_image=request.target.image)
    pipeline = create_pipeline(request)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        vertex.KubeflowV2DagRunner(
            image, output_dir=str(path.parent), output_filename=path.name
        ).run(pipeline, parameter_values=_defaults(pipeline))
        complete_job(path, request)
    except OSError as error:
        raise ConfigError(f"--job_file={path} cannot be written: {error.strerror}.") from error


def _defaults(pipeline: "Pipeline") -> dict[str, str]:
    """The values of the job's parameters, which TFX's compiler leaves out of the file."""
    from tfx.orchestration.data_types import RuntimeParameter

    return {
        value.name: str(value.default or "")
        for node in pipeline.components
        for value in node.exec_properties.values()
        if isinstance(value, RuntimeParameter)
    }


def on_cloud(request: Request, *, image: str) -> Request:
    """Checks a request for Vertex AI and completes it: cloud target, Dataflow's arguments.

    Args:
      request: `beam_args` name `--project` and `--region`, and the runner of the conversion.
      image: container image of all steps.

    Raises:
      ConfigError: a flag or a setting is missing or cannot work; names it.
    """
    from apache_beam.options import pipeline_options as beam

    options = beam.PipelineOptions(list(request.beam_args))
    google = options.view_as(beam.GoogleCloudOptions)
    needed = {
        "--image (the container image that holds this project)": image,
        "--project (the id of the Google Cloud project)": google.project,
        "--region (the region, such as europe-west4)": google.region,
    }
    if missing := [flag for flag, value in needed.items() if not value]:
        raise ConfigError(f"--orchestrator=vertex needs {', '.join(missing)}.")
    if not request.pipeline_root.startswith("gs://"):
        raise ConfigError(
            f"--pipeline_root={request.pipeline_root}: Vertex AI writes to a bucket; give a place "
            "like gs://bucket/folder."
        )
    if request.config_name.startswith("/"):
        raise ConfigError(
            f"--config={request.config_name}: on Vertex AI the config is read from the image, and "
            "this file is outside the project. Move it to configs/ and build the image again."
        )
    for name in _IN_REGION:
        found = re.search(r"/(?:locations|regions)/([^/]+)/", request.config.cloud[name])
        if found and found[1] != google.region:
            raise ConfigError(
                f"cloud.{name}={request.config.cloud[name]} is in {found[1]}, and the job runs in "
                f"--region={google.region}: give one that is there."
            )
    place = {"project": google.project, "region": google.region}
    cloud = CloudTarget(**place, image=image, machines=request.config.cloud)
    runner = options.view_as(beam.StandardOptions).runner
    if runner == "DataflowRunner":
        beam_args = _dataflow_args(request, cloud)
    elif runner in _IN_STEP or not request.converted:
        beam_args = local_beam_args(request.beam_args)
    else:
        raise ConfigError(_runner_problem(runner))
    return dataclasses.replace(request, beam_args=beam_args, cloud=cloud)


def _runner_problem(runner: str | None) -> str:
    problem = "the conversion needs a runner"
    if runner:
        problem = (
            f"--runner={runner} does not start in a step: its image has no job server, nor Java"
        )
    return (
        f"--orchestrator=vertex: {problem}. Give --runner=DataflowRunner, which takes up to cloud."
        "dataflow.max_num_workers machines; or, for small data sets, --runner=DirectRunner, which "
        "converts on the step's one machine, of cloud.conversion.cpus and memory_gb."
    )


def _dataflow_args(request: Request, cloud: CloudTarget) -> tuple[str, ...]:
    """Beam's arguments with those of the config that were not given."""
    wanted = cloud.machines.dataflow
    defaults = {
        "temp_location": f"{request.pipeline_root}/beam_temp",
        "sdk_container_image": wanted.image or cloud.image,
        # Workers find Beam in the image; nothing is installed when they start.
        "sdk_location": "container",
        # Dataflow gets no list of the packages that are installed here.
        "experiments": "disable_logging_submission_environment",
        "max_num_workers": wanted.max_num_workers,
        "worker_machine_type": wanted.machine_type,
        "disk_size_gb": wanted.disk_size_gb,
        "service_account_email": cloud.machines.service_account,
        "subnetwork": wanted.subnetwork,
        "dataflow_kms_key": cloud.machines.encryption_key,
    }
    given = {argument.lstrip("-").partition("=")[0] for argument in request.beam_args}
    for name, other_name in _OTHER_NAMES.items():
        if other_name in given:
            del defaults[name]
    labels = cloud.labels(request.pipeline_name)
    region = (f"--region={wanted.region}",) if wanted.region else ()  # The last one counts.
    private = () if wanted.public_ips else ("--no_use_public_ips",)
    return (
        *(f"--{name}={value}" for name, value in defaults.items() if value and name not in given),
        *private,
        *(f"--dataflow_service_options={option}" for option in wanted.service_options),
        *(f"--labels={name}={value}" for name, value in labels.items()),
        NO_MAIN_SESSION,  # The last one counts: `--save_main_session` can still be given.
        *request.beam_args,
        *region,
    )


def parameters_of(job_file: Path) -> dict[str, str]:
    """The parameters that a submission of a job file may set, and their defaults.

    Raises:
      ConfigError: the file cannot be read.
    """
    try:
        job = read_json(job_file, fix="write it again", kind=dict)
        named = job["pipelineSpec"]["root"].get("inputDefinitions", {}).get("parameters", {})
        defaults = job["runtimeConfig"].get("parameters", {})
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"--job_file={job_file} is no job file ({type(error).__name__}): write it first, "
            "without --nocompile."
        ) from None
    return {name: defaults.get(name, {}).get("stringValue", "") for name in sorted(named)}


def places_on_this_machine(request: Request, parameters: Mapping[str, str]) -> list[str]:
    """The settings with a place that a step on Vertex AI cannot reach, as "name=place".

    Args:
      request: the run.
      parameters: of the job, that a submission sets.

    Raises:
      ConfigError: a parameter names other data in a way that cannot be.
    """
    places = {f"{s}.start_from": request.config[s].start_from for s in request.training_stages}
    places["evaluation.ground_truth"] = request.config.evaluation.ground_truth
    places["push.destination"] = request.config.push.destination
    for stage in request.converted:
        section, given = f"data.{stage}", parameters.get(f"{stage}_data", "")
        source = with_places(request.config.data[stage].to_dict(), section, given)
        for kind in ("images", "annotations"):
            places |= {f"{section}.{kind}.{split}": p for split, p in source[kind].items()}
    # Vertex AI shows buckets as folders below /gcs/ too.
    return [
        f"{name}={place}"
        for name, place in places.items()
        if place and not place.startswith(("gs://", "/gcs/"))
    ]
