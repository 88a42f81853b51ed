"""The job file for Vertex AI: steps, images, arguments, artifact types; made without network."""

import json
import os
import socket
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    WorkerOptions,
)
from google.cloud.aiplatform_v1.types import CustomJobSpec, Scheduling
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines import vertex_job
from pipelines.request import Request, parse_stages
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config

IMAGE = "europe-docker.pkg.dev/project/repository/pix2seq:1"
PLACE = ("--project=project", "--region=europe-west4")
DATAFLOW = (*PLACE, "--runner=DataflowRunner", "--max_num_workers=50")
BUCKET = tuple(
    f"data.{stage}.{kind}.{split}=gs://data/{stage}/{split}{suffix}"
    for stage in ("pretrain", "finetune")
    for kind, suffix in (("images", ""), ("annotations", ".json"))
    for split in ("train", "val")
)
RUN_EXECUTOR = ["python", "-m", "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"]
TRAINER = "components.custom_job_trainer.Executor"


def request(*overrides, beam_args=DATAFLOW, stages=(), **changed):
    config = load_config("configs/full.py:vit_b,640", (*BUCKET, *overrides))
    wanted = {
        "config": config,
        "config_name": "configs/full.py:vit_b,640",
        "overrides": (*BUCKET, *overrides),
        "pipeline_root": "gs://bucket/full",
        "stages": parse_stages(stages, config),
        "beam_args": beam_args,
    }
    return Request(**{**wanted, **changed})


@pytest.fixture(autouse=True, scope="module")
def _no_network():
    def refuse(*_):
        raise AssertionError("the job is made without network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


def written(folder: Path, wanted: Request) -> dict:
    wanted = vertex_job.on_cloud(wanted, image=IMAGE)
    path = vertex_job.write_job(wanted, job_file=str(folder / "job.json"))
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return written(tmp_path_factory.mktemp("job"), request())


def container(job, step):
    return job["pipelineSpec"]["deploymentSpec"]["executors"][f"{step}_executor"]["container"]


def parameters(job, step):
    task = job["pipelineSpec"]["root"]["dag"]["tasks"][step]
    return {
        name: value["runtimeValue"]["constantValue"]["stringValue"]
        for name, value in task["inputs"]["parameters"].items()
        if "stringValue" in value.get("runtimeValue", {}).get("constantValue", {})
    }


def custom_config(job, step):
    return json.loads(parameters(job, step)["custom_config"])


def test_it_is_a_pipeline_job(job):
    spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    assert spec.pipeline_info.name == "pix2seq-full-vit-b-640"
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/full"


def test_steps_and_their_order(job):
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    assert {name: set(task.get("dependentTasks", ())) for name, task in tasks.items()} == {
        "PretrainExamples": set(),
        "FinetuneExamples": set(),
        "Pretrain": {"PretrainExamples"},
        "Finetune": {"FinetuneExamples", "Pretrain"},
        "LatestBlessedModel-model-blessing-resolver": set(),
        "LatestBlessedModel-model-resolver": set(),  # It takes the other one's output.
        "CocoEvaluator": {"FinetuneExamples", "Finetune", "LatestBlessedModel-model-resolver"},
        "ModelPusher": {"Finetune", "CocoEvaluator"},
    }
    assert all(
        task["cachingOptions"]["enableCache"]
        for name, task in tasks.items()
        if not name.startswith("Latest")
    )


@pytest.mark.parametrize(
    ("step", "executor"),
    [
        ("PretrainExamples", "components.example_gen.Executor"),
        ("FinetuneExamples", "components.example_gen.Executor"),
        ("Pretrain", TRAINER),
        ("Finetune", TRAINER),
        ("CocoEvaluator", "components.coco_evaluator.Executor"),
        ("ModelPusher", "components.model_pusher.Executor"),
    ],
)
def test_every_step_runs_its_executor_in_our_image(job, step, executor):
    assert container(job, step)["image"] == IMAGE
    assert container(job, step)["command"] == RUN_EXECUTOR
    assert container(job, step)["args"][:4] == [
        *("--executor_class_path", executor),
        *("--json_serialized_invocation_args", "{{$}}"),
    ]


def test_the_conversion_runs_on_dataflow_with_our_image(job):
    assert set(container(job, "PretrainExamples")["args"][4:]) == {
        *DATAFLOW,
        f"--sdk_container_image={IMAGE}",
        "--sdk_location=container",
        "--experiments=disable_logging_submission_environment",
        "--temp_location=gs://bucket/full/beam_temp",
        "--worker_machine_type=n2-standard-4",
        "--disk_size_gb=50",
        "--labels=pipeline=pix2seq",
        "--labels=pix2seq-config=pix2seq-full-vit-b-640",
    }
    assert container(job, "CocoEvaluator")["args"][4:] == []


def test_given_dataflow_arguments_are_kept(tmp_path):
    given = (
        *(*DATAFLOW, "--temp_location=gs://other/temp", "--sdk_container_image=mine"),
        *("--machine_type=n1-standard-1", "--disk_size_gb=9"),
    )
    arguments = container(written(tmp_path, request(beam_args=given)), "PretrainExamples")["args"]
    assert set(given) <= set(arguments)
    names = [argument.partition("=")[0] for argument in arguments[4:]]
    assert len([name for name in names if name != "--labels"]) == len({*names} - {"--labels"})
    assert "--worker_machine_type" not in names


def test_dataflow_by_config(tmp_path):
    overrides = (
        *("cloud.dataflow.image=workers:2", "cloud.dataflow.region=europe-west1"),
        *("cloud.dataflow.machine_type=n1-highmem-8", "cloud.dataflow.disk_size_gb=77"),
        *("cloud.dataflow.max_num_workers=3", "cloud.labels.team=vision"),
        "cloud.service_account=s@p.iam",
    )
    place = (*PLACE, "--runner=DataflowRunner")
    arguments = container(
        written(tmp_path, request(*overrides, beam_args=place)), "PretrainExamples"
    )["args"][4:]
    options = PipelineOptions(arguments)
    workers, google = options.view_as(WorkerOptions), options.view_as(GoogleCloudOptions)
    assert workers.sdk_container_image == "workers:2"
    assert google.region == "europe-west1"
    assert workers.machine_type == "n1-highmem-8"
    assert workers.disk_size_gb == 77
    assert workers.max_num_workers == 3
    assert "team=vision" in google.labels
    assert google.service_account_email == "s@p.iam"


def test_without_dataflow_the_conversion_runs_in_its_step(tmp_path):
    job = written(tmp_path, request(beam_args=PLACE))
    assert container(job, "PretrainExamples")["args"][-1] == "--runner=FnApiRunner"


def test_artifact_types(job):
    kinds = {}
    for step, component in job["pipelineSpec"]["components"].items():
        outputs = component.get("outputDefinitions", {}).get("artifacts", {})
        for name, artifact in outputs.items():
            schema = artifact["artifactType"]["instanceSchema"]
            kinds[f"{step}.{name}"] = schema.split("\n")[0].removeprefix("title: ")
    assert kinds == {
        "PretrainExamples.examples": "tfx.Examples",
        "PretrainExamples.report": "tfx.ExampleStatistics",
        "FinetuneExamples.examples": "tfx.Examples",
        "FinetuneExamples.report": "tfx.ExampleStatistics",
        "Pretrain.model": "tfx.Model",
        "Pretrain.model_run": "tfx.ModelRun",
        "Finetune.model": "tfx.Model",
        "Finetune.model_run": "tfx.ModelRun",
        "LatestBlessedModel-model-blessing-resolver.model_blessing": "tfx.ModelBlessing",
        "LatestBlessedModel-model-resolver.model": "tfx.Model",
        "CocoEvaluator.evaluation": "tfx.ModelEvaluation",
        "CocoEvaluator.blessing": "tfx.ModelBlessing",
        "ModelPusher.pushed_model": "tfx.PushedModel",
    }


def test_fine_tuning_starts_from_this_pipelines_pretraining(job):
    base_model = job["pipelineSpec"]["root"]["dag"]["tasks"]["Finetune"]["inputs"]["artifacts"][
        "base_model"
    ]
    assert base_model["taskOutputArtifact"] == {
        "producerTask": "Pretrain",
        "outputArtifactKey": "model",
    }


def test_training_is_a_custom_job(job):
    config = custom_config(job, "Pretrain")
    assert parameters(job, "Pretrain")["run_fn"] == "components.trainer_module.run_fn"
    assert config["config"] == "configs/full.py:vit_b,640"
    assert config["stage"] == "pretrain"
    assert config["work_dir"].startswith("gs://bucket/full/training/pretrain-")
    assert config["ai_platform_enable_vertex"] is True
    assert config["ai_platform_vertex_region"] == "europe-west4"
    training = config["ai_platform_training_args"]
    assert training["project"] == "project"
    assert training["job_spec"]["worker_pool_specs"] == [
        {
            "machine_spec": {
                "machine_type": "a2-highgpu-1g",
                "accelerator_type": "NVIDIA_TESLA_A100",
                "accelerator_count": 1,
            },
            "replica_count": 1,
            "disk_spec": {"boot_disk_size_gb": 200},
            "container_spec": {
                "image_uri": IMAGE,
                "env": [
                    {
                        "name": "KERAS_BACKEND",
                        "value": os.environ.get("KERAS_BACKEND", "tensorflow"),
                    }
                ],
            },
        }
    ]
    assert training["labels"] == {
        "pipeline": "pix2seq",
        "pix2seq-config": "pix2seq-full-vit-b-640",
    }


def test_machines_come_from_the_config(tmp_path):
    job = written(
        tmp_path,
        request(
            "cloud.training.worker_count=4",
            "cloud.training.accelerator_count=0",
            "cloud.training.machine_type=n2-standard-16",
            "cloud.training.spot=True",
            "cloud.training.disk_size_gb=55",
            "cloud.training.max_days=0.5",
            "cloud.service_account=trainer@project.iam.gserviceaccount.com",
            "cloud.evaluation.accelerator_count=0",
        ),
    )
    spec = custom_config(job, "Finetune")["ai_platform_training_args"]["job_spec"]
    assert [pool["replica_count"] for pool in spec["worker_pool_specs"]] == [1, 3]
    assert spec["worker_pool_specs"][1]["machine_spec"] == {"machine_type": "n2-standard-16"}
    assert {pool["disk_spec"]["boot_disk_size_gb"] for pool in spec["worker_pool_specs"]} == {55}
    # As Vertex AI's own client reads it.
    scheduling = CustomJobSpec(spec).scheduling
    assert scheduling.strategy == Scheduling.Strategy.SPOT
    assert scheduling.restart_job_on_worker_restart
    assert scheduling.timeout.total_seconds() == 12 * 3600
    assert spec["service_account"] == "trainer@project.iam.gserviceaccount.com"
    assert container(job, "CocoEvaluator")["resources"] == {"cpuLimit": 8.0, "memoryLimit": 32.0}


def test_a_job_that_shall_not_restart(tmp_path):
    job = written(tmp_path, request("cloud.training.restart=False"))
    spec = custom_config(job, "Finetune")["ai_platform_training_args"]["job_spec"]
    assert not CustomJobSpec(spec).scheduling.restart_job_on_worker_restart
    assert CustomJobSpec(spec).scheduling.strategy == Scheduling.Strategy.STRATEGY_UNSPECIFIED


def test_what_a_submission_may_set(tmp_path):
    job = written(tmp_path, request())
    assert vertex_job.parameters_of(tmp_path / "job.json") == {
        "evaluation_overrides": "",
        "finetune_overrides": "",
        "pretrain_overrides": "",
        "push_destination": "gs://bucket/full/serving_model",
    }
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    given = {
        (step, name): value["componentInputParameter"]
        for step, task in tasks.items()
        for name, value in task.get("inputs", {}).get("parameters", {}).items()
        if "componentInputParameter" in value
    }
    assert given == {
        ("Pretrain", "overrides"): "pretrain_overrides",
        ("Finetune", "overrides"): "finetune_overrides",
        ("CocoEvaluator", "overrides"): "evaluation_overrides",
        ("ModelPusher", "destination"): "push_destination",
    }


@pytest.mark.parametrize("content", [None, "", "{}"])
def test_a_file_that_is_no_job(content, tmp_path):
    path = tmp_path / "job.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="is no job file"):
        vertex_job.parameters_of(path)


def test_an_endpoint_by_config(tmp_path):
    job = written(tmp_path, request("push.endpoint.name=detector", "cloud.labels.team=vision"))
    settings = json.loads(parameters(job, "ModelPusher")["endpoint"])
    assert settings["name"] == "detector"
    assert settings["project"] == "project"
    assert settings["region"] == "europe-west4"
    assert settings["labels"]["team"] == "vision"
    assert parameters(written(tmp_path, request()), "ModelPusher")["endpoint"] == ""


@pytest.mark.parametrize(
    "override",
    [
        *("cloud.labels.Team=a", "cloud.labels.team=Vision Group", "cloud.labels.1=a"),
        *("cloud.training.worker_count=0", "cloud.dataflow.max_num_workers=0"),
    ],
)
def test_machines_that_cannot_be(override):
    with pytest.raises(ConfigError, match=override.partition("=")[0].replace(".", r"\.")):
        vertex_job.on_cloud(request(override), image=IMAGE)


def test_a_step_gets_the_overrides_of_its_own_sections(tmp_path):
    job = written(tmp_path, request("finetune.steps=9000", "evaluation.min_metrics.AP=0.3"))
    pretrain, finetune = (custom_config(job, step) for step in ("Pretrain", "Finetune"))
    assert "finetune.steps=9000" in finetune["overrides"]
    assert "finetune.steps=9000" not in pretrain["overrides"]
    assert not [o for o in finetune["overrides"] if o.startswith("evaluation.min_metrics")]
    settings = json.loads(parameters(job, "CocoEvaluator")["settings"])
    assert settings["min_metrics"] == {"AP": 0.3}


def test_decoding_settings_export_anew_but_continue_the_same_training(tmp_path):
    jobs = [
        custom_config(written(tmp_path, request(f"evaluation.max_objects={count}")), "Finetune")
        for count in (50, 60)
    ]
    assert jobs[0]["work_dir"] == jobs[1]["work_dir"]
    assert jobs[0]["settings_digest"] != jobs[1]["settings_digest"]


def test_other_records_are_another_training(tmp_path):
    changes = ((), ("data.finetune.num_shards.train=3",), ("data.finetune.drop_fake=True",))
    jobs = [custom_config(written(tmp_path, request(*change)), "Finetune") for change in changes]
    assert len({job["work_dir"] for job in jobs}) == 3


def test_a_given_model_replaces_pretraining(tmp_path):
    job = written(tmp_path, request("finetune.start_from=gs://models/vit_b"))
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    assert "Pretrain" not in tasks
    assert "PretrainExamples" not in tasks
    importer = job["pipelineSpec"]["deploymentSpec"]["executors"]["FinetuneStart_executor"]
    assert importer["importer"]["artifactUri"]["constantValue"]["stringValue"] == (
        "gs://models/vit_b"
    )
    artifact = tasks["Finetune"]["inputs"]["artifacts"]["base_model"]["taskOutputArtifact"]
    assert artifact["producerTask"] == "FinetuneStart"


def test_some_stages(tmp_path):
    job = written(tmp_path, request(stages=["pretrain"]))
    assert set(job["pipelineSpec"]["root"]["dag"]["tasks"]) == {"PretrainExamples", "Pretrain"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beam_args": ()}, r"needs --project .*, --region "),
        ({"pipeline_root": "runs/full"}, r"--pipeline_root=runs/full: .*like gs://bucket/folder"),
        ({"config_name": "/home/me/mine.py"}, "lies outside the project"),
    ],
)
def test_what_is_missing_is_named(tmp_path, changed, message):
    with pytest.raises(ConfigError, match=message):
        written(tmp_path, request(**changed))


def test_missing_image():
    with pytest.raises(ConfigError, match=r"--image \(the container image"):
        vertex_job.on_cloud(request(), image="")


def test_job_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--job_file=.* cannot be written"):
        written(tmp_path / "file", request())


def test_places_that_vertex_cannot_reach():
    assert vertex_job.places_on_this_machine(request()) == []
    wanted = request("data.finetune.images.val=/home/me/val", "push.destination=/gcs/bucket/models")
    assert vertex_job.places_on_this_machine(wanted) == ["data.finetune.images.val=/home/me/val"]
