"""A job file's settings: what it takes, what a submission may set, what is refused."""

import json

import pytest

from pipelines.vertex import job as vertex_job
from pix2seq_model.errors import ConfigError
from tests.fixtures.vertex_request import IMAGE, custom_config, parameters, request, written


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
        ("EvaluationReport", "overrides"): "evaluation_overrides",
        ("ModelPusher", "destination"): "push_destination",
    }


@pytest.mark.parametrize("content", [None, "", "{}"])
def test_a_file_that_is_no_job(content, tmp_path):
    path = tmp_path / "job.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="is no job file"):
        vertex_job.parameters_of(path)


@pytest.mark.parametrize("kind", ["endpoint", "registry"])
def test_an_endpoint_or_a_registry_by_config(kind, tmp_path):
    job = written(tmp_path, request(f"push.{kind}.name=detector", "cloud.labels.team=vision"))
    settings = json.loads(parameters(job, "ModelPusher")["registry"])
    assert settings["name"] == "detector"
    assert settings["endpoint"]["name"] == ("detector" if kind == "endpoint" else "")
    assert settings["alias"] == "pix2seq-full-vit-b-640"
    assert settings["project"] == "project"
    assert settings["region"] == "europe-west4"
    assert settings["labels"]["team"] == "vision"
    assert parameters(written(tmp_path, request()), "ModelPusher")["registry"] == ""


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
    assert "num_pictures" not in settings
    assert json.loads(parameters(job, "EvaluationReport")["settings"]) == {"num_pictures": 24}


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
        ({"config_name": "/home/me/mine.py"}, "is outside the project"),
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
