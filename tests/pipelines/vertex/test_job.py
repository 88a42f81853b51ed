"""The job file for Vertex AI: steps, images, machines, artifact types; made without network."""

import socket

import pytest
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from google.cloud.aiplatform_v1.types import (
    CustomJob,
    CustomJobSpec,
    ReservationAffinity,
    Scheduling,
)
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.keras_backend import keras_backend
from pipelines.vertex.job import on_cloud
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.estimate import USABLE_FRACTION
from tests.fixtures.vertex_request import (
    DATAFLOW,
    IMAGE,
    PLACE,
    container,
    custom_config,
    parameters,
    request,
    written,
)

RUN_EXECUTOR = [
    "python",
    "-m",
    "components.cloud_log",
    "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor",
]
TRAINER = "components.custom_job_trainer.Executor"


@pytest.fixture(autouse=True, scope="module")
def _no_network():
    def refuse(*_):
        raise AssertionError("the job is made without network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return written(tmp_path_factory.mktemp("job"), request())


def test_it_is_a_pipeline_job(job):
    spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    assert spec.pipeline_info.name == "pix2seq-full-vit-b-640"
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/full"


def test_steps_and_their_order(job):
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    assert {name: set(task.get("dependentTasks", ())) for name, task in tasks.items()} == {
        "PretrainDataVersion": set(),
        "FinetuneDataVersion": set(),
        "PretrainExamples": {"PretrainDataVersion"},
        "FinetuneExamples": {"FinetuneDataVersion"},
        "Pretrain": {"PretrainExamples"},
        "Finetune": {"FinetuneExamples", "Pretrain"},
        "LatestBlessedModel-model-blessing-resolver": set(),
        "LatestBlessedModel-model-resolver": set(),  # It takes the other one's output.
        "CocoEvaluator": {
            *("FinetuneExamples", "Finetune", "LatestBlessedModel-model-resolver"),
            "FinetuneDataVersion",  # Its truth is an annotation file of the data.
        },
        "PretrainDataReport": {"PretrainExamples"},
        "FinetuneDataReport": {"FinetuneExamples"},
        "EvaluationReport": {"FinetuneExamples", "Finetune", "CocoEvaluator"},
        "ModelPusher": {"Finetune", "CocoEvaluator"},
    }
    assert all(
        task["cachingOptions"]["enableCache"]
        for name, task in tasks.items()
        if not name.startswith("Latest") and not name.endswith("Version")
    )


@pytest.mark.parametrize(
    ("step", "executor"),
    [
        ("FinetuneDataVersion", "components.data_version.Executor"),
        ("PretrainExamples", "components.example_gen.Executor"),
        ("FinetuneExamples", "components.example_gen.Executor"),
        ("Pretrain", TRAINER),
        ("Finetune", TRAINER),
        ("CocoEvaluator", "components.coco_evaluator.Executor"),
        ("PretrainDataReport", "components.data_report.DataReport_Executor"),
        ("EvaluationReport", "components.evaluation_report.EvaluationReport_Executor"),
        ("ModelPusher", "components.model_pusher.ModelPusher_Executor"),
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
        "--no_save_main_session",
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


def test_in_its_step_the_conversion_has_a_machine_of_its_own(tmp_path):
    place = (*PLACE, "--runner=DirectRunner")
    job = written(tmp_path, request("cloud.conversion.cpus=4", beam_args=place))
    step = container(job, "PretrainExamples")
    assert step["resources"] == {"cpuLimit": 4.0, "memoryLimit": 32.0}
    options = PipelineOptions(step["args"][4:])
    assert options.view_as(StandardOptions).runner == "FnApiRunner"
    direct = options.view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (4, "multi_processing")


def test_the_program_itself_is_not_sent_to_dataflow():
    """Beam does that for the real service alone, which no stand-in at another address sees."""
    arguments = on_cloud(request(), image=IMAGE).beam_args
    assert PipelineOptions(list(arguments)).view_as(SetupOptions).save_main_session is False


@pytest.mark.parametrize(
    ("runner", "problem"),
    [((), "needs a runner"), (("--runner=FlinkRunner",), "--runner=FlinkRunner does not start")],
)
def test_a_conversion_that_would_run_anywhere_or_nowhere_is_refused(runner, problem):
    with pytest.raises(ConfigError, match=rf"{problem}.*DataflowRunner.*DirectRunner"):
        on_cloud(request(beam_args=(*PLACE, *runner)), image=IMAGE)


def test_artifact_types(job):
    kinds = {}
    for step, component in job["pipelineSpec"]["components"].items():
        outputs = component.get("outputDefinitions", {}).get("artifacts", {})
        for name, artifact in outputs.items():
            schema = artifact["artifactType"]["instanceSchema"]
            kinds[f"{step}.{name}"] = schema.split("\n")[0].removeprefix("title: ")
    assert kinds == {
        "PretrainDataVersion.version": "tfx.String",
        "FinetuneDataVersion.version": "tfx.String",
        "PretrainExamples.examples": "tfx.Examples",
        "FinetuneExamples.examples": "tfx.Examples",
        "PretrainDataReport.report": "tfx.ExampleStatistics",
        "FinetuneDataReport.report": "tfx.ExampleStatistics",
        "Pretrain.model": "tfx.Model",
        "Pretrain.model_run": "tfx.ModelRun",
        "Finetune.model": "tfx.Model",
        "Finetune.model_run": "tfx.ModelRun",
        "LatestBlessedModel-model-blessing-resolver.model_blessing": "tfx.ModelBlessing",
        "LatestBlessedModel-model-resolver.model": "tfx.Model",
        "CocoEvaluator.evaluation": "tfx.ModelEvaluation",
        "CocoEvaluator.blessing": "tfx.ModelBlessing",
        "EvaluationReport.report": "tfx.ModelEvaluation",
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
    assert config["accelerators"] == 1
    assert parameters(job, "CocoEvaluator")["accelerators"] == "1"
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
                    {"name": "KERAS_BACKEND", "value": keras_backend()},
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
            "cloud.training.strategy=spot",
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
    for step in ("CocoEvaluator", "EvaluationReport"):
        assert container(job, step)["resources"] == {"cpuLimit": 8.0, "memoryLimit": 32.0}


def test_jax_may_take_what_the_estimate_counts_on(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    job = written(tmp_path, request())
    (pool,) = custom_config(job, "Finetune")["ai_platform_training_args"]["job_spec"][
        "worker_pool_specs"
    ]
    assert pool["container_spec"]["env"] == [
        {"name": "KERAS_BACKEND", "value": "jax"},
        {"name": "XLA_PYTHON_CLIENT_MEM_FRACTION", "value": str(USABLE_FRACTION)},
    ]


def test_a_job_that_shall_not_restart(tmp_path):
    job = written(tmp_path, request("cloud.training.restart=False"))
    spec = custom_config(job, "Finetune")["ai_platform_training_args"]["job_spec"]
    assert not CustomJobSpec(spec).scheduling.restart_job_on_worker_restart
    assert CustomJobSpec(spec).scheduling.strategy == Scheduling.Strategy.STRATEGY_UNSPECIFIED


RESERVED = "projects/p/zones/europe-west4-a/reservations/r"
KEY = "projects/p/locations/europe-west4/keyRings/ring/cryptoKeys/key"
BOARD = "projects/p/locations/europe-west4/tensorboards/7"


def custom_job(tmp_path, *overrides):
    """The job that a training step asks for, as Vertex AI's own client reads it."""
    given = custom_config(written(tmp_path, request(*overrides)), "Finetune")
    arguments = given["ai_platform_training_args"]
    return CustomJob({name: arguments[name] for name in arguments if name != "project"})


def test_machines_that_are_waited_for(tmp_path):
    overrides = ("cloud.training.strategy=flex_start", "cloud.training.max_wait_hours=0.5")
    scheduling = custom_job(tmp_path, *overrides).job_spec.scheduling
    assert scheduling.strategy == Scheduling.Strategy.FLEX_START
    assert scheduling.max_wait_duration.total_seconds() == 1800


@pytest.mark.parametrize(
    ("reservation", "wanted"),
    [
        ("any", {"reservation_affinity_type": "ANY_RESERVATION"}),
        (
            RESERVED,
            {
                "reservation_affinity_type": "SPECIFIC_RESERVATION",
                "key": "compute.googleapis.com/reservation-name",
                "values": [RESERVED],
            },
        ),
    ],
)
def test_machines_of_a_reservation(reservation, wanted, tmp_path):
    job = custom_job(tmp_path, f"cloud.training.reservation={reservation}")
    (pool,) = job.job_spec.worker_pool_specs
    assert pool.machine_spec.reservation_affinity == ReservationAffinity(wanted)
    assert pool.machine_spec.accelerator_count == 1


@pytest.mark.parametrize(
    ("setting", "value", "found"),
    [
        ("network", "projects/1/global/networks/n", lambda job: job.job_spec.network),
        (
            "network_attachment",
            "projects/p/regions/europe-west4/networkAttachments/a",
            lambda job: job.job_spec.psc_interface_config.network_attachment,
        ),
        ("encryption_key", KEY, lambda job: job.encryption_spec.kms_key_name),
        ("tensorboard", BOARD, lambda job: job.job_spec.tensorboard),
        ("service_account", "s@p.iam", lambda job: job.job_spec.service_account),
    ],
)
def test_settings_of_all_jobs_reach_training(setting, value, found, tmp_path):
    overrides = {"cloud.service_account": "t@p.iam", f"cloud.{setting}": value}
    job = custom_job(tmp_path, *(f"{name}={text}" for name, text in overrides.items()))
    assert found(job) == value


def test_a_tpu(tmp_path, monkeypatch):
    overrides = (
        *("cloud.training.machine_type=ct5lp-hightpu-8t", "cloud.training.tpu_topology=2x4"),
        "cloud.training.accelerator_count=8",
    )
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    job = custom_job(tmp_path, *overrides)
    (pool,) = job.job_spec.worker_pool_specs
    assert pool.machine_spec.machine_type == "ct5lp-hightpu-8t"
    assert pool.machine_spec.tpu_topology == "2x4"
    assert not pool.machine_spec.accelerator_count
    assert [entry.name for entry in pool.container_spec.env] == ["KERAS_BACKEND"]
    assert custom_config(written(tmp_path, request(*overrides)), "Finetune")["accelerators"] == 8
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(ConfigError, match="train with KERAS_BACKEND=jax"):
        custom_job(tmp_path, *overrides)


def test_private_workers_and_options_of_dataflow(tmp_path):
    overrides = (
        *("cloud.dataflow.public_ips=False", f"cloud.encryption_key={KEY}"),
        "cloud.dataflow.subnetwork=regions/europe-west4/subnetworks/s",
        "cloud.dataflow.service_options=('enable_prime', 'other=9')",
    )
    options = PipelineOptions(
        container(written(tmp_path, request(*overrides)), "PretrainExamples")["args"][4:]
    )
    workers, google = options.view_as(WorkerOptions), options.view_as(GoogleCloudOptions)
    assert workers.use_public_ips is False
    assert workers.subnetwork == "regions/europe-west4/subnetworks/s"
    assert google.dataflow_kms_key == KEY
    assert google.dataflow_service_options == ["enable_prime", "other=9"]


def test_what_is_in_another_region_is_refused():
    elsewhere = KEY.replace("europe-west4", "us-central1")
    with pytest.raises(ConfigError, match="is in us-central1, and the job runs in --region=europe"):
        on_cloud(request(f"cloud.encryption_key={elsewhere}"), image=IMAGE)
