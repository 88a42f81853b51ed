"""A job file's settings: what it takes, what a submission may set, what is refused."""

import json

import pytest

from pipelines.vertex import job as vertex_job
from pix2seq_model.errors import ConfigError
from tests.fixtures.vertex_request import (
    IMAGE,
    PLACE,
    custom_config,
    parameters,
    request,
    written,
)


def test_what_a_submission_may_set(tmp_path):
    job = written(tmp_path, request())
    assert vertex_job.parameters_of(tmp_path / "job.json") == {
        "data_version": "",
        "evaluation_overrides": "",
        "finetune_data": "",
        "finetune_overrides": "",
        "pretrain_data": "",
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
        **{
            (f"{stage.capitalize()}{step}", "given"): f"{stage}_data"
            for stage in ("pretrain", "finetune")
            for step in ("DataVersion", "Examples", "")
        },
        ("PretrainDataVersion", "data_version"): "data_version",
        ("FinetuneDataVersion", "data_version"): "data_version",
        ("Pretrain", "overrides"): "pretrain_overrides",
        ("Finetune", "overrides"): "finetune_overrides",
        ("CocoEvaluator", "given"): "finetune_data",
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


def test_decoding_settings_export_again_but_continue_the_same_training(tmp_path):
    jobs = [
        custom_config(written(tmp_path, request(f"evaluation.max_objects={count}")), "Finetune")
        for count in (50, 60)
    ]
    assert jobs[0]["work_dir"] == jobs[1]["work_dir"]
    assert jobs[0]["settings_digest"] != jobs[1]["settings_digest"]


def folders(tmp_path, *overrides, image=IMAGE, **changed):
    """Of fine-tuning, the records' and the training's folders as the job file has them."""
    wanted = vertex_job.on_cloud(request(*overrides, **changed), image=image)
    vertex_job.write_job(wanted, tmp_path / "job.json")
    job = json.loads((tmp_path / "job.json").read_text())
    records = parameters(job, "FinetuneExamples")["work_dir"]
    return records, custom_config(job, "Finetune")["work_dir"]


def test_other_settings_of_records_are_other_records_and_another_training(tmp_path):
    changes = ((), ("data.finetune.num_shards.train=3",), ("data.finetune.drop_fake=True",))
    found = [folders(tmp_path, *change) for change in changes]
    assert len({records for records, _ in found}) == len({work for _, work in found}) == 3
    assert folders(tmp_path, "vocabulary.coord_shift=200")[0] != found[0][0]


def test_neither_image_nor_workers_nor_names_make_other_records_or_another_training(tmp_path):
    """What lies in the places is found out when the pipeline runs."""
    first = folders(tmp_path)
    assert first[0].startswith("gs://bucket/full/conversion/finetune-")
    assert folders(tmp_path, image="another/image:2") == first
    beam_args = (*PLACE, "--runner=DataflowRunner", "--max_num_workers=7")
    assert folders(tmp_path, beam_args=beam_args) == first
    assert folders(tmp_path, beam_args=(*PLACE, "--runner=DirectRunner")) == first
    assert folders(tmp_path, "data.finetune.images.val=gs://other/val") == first
    assert folders(tmp_path, "data.finetune.max_defect_fraction=0.2") == first
    assert folders(tmp_path, data_version="2") == first


def test_a_published_checkpoint_needs_no_look(tmp_path):
    published = "gs://pix2seq/obj365_pretrain/vit_b_640x640_b256_s400k"
    job = written(tmp_path, request(f"finetune.start_from={published}"))
    assert "FinetuneCheckpoint" in job["pipelineSpec"]["root"]["dag"]["tasks"]
    assert "FinetuneStartVersion" not in job["pipelineSpec"]["root"]["dag"]["tasks"]


def test_a_truth_that_is_part_of_the_data_is_looked_at_with_them(tmp_path):
    job = written(tmp_path, request())
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    assert "GroundTruthVersion" not in tasks
    assert tasks["CocoEvaluator"]["inputs"]["parameters"]["fingerprint"]["taskOutputParameter"] == {
        "producerTask": "FinetuneDataVersion",
        "outputParameterKey": "version",
    }
    assert parameters(job, "CocoEvaluator")["truth_of"] == "data.finetune.annotations.val"


def test_the_data_version_of_the_command_is_the_default_of_the_jobs(tmp_path):
    written(tmp_path, request(data_version="2"))
    assert vertex_job.parameters_of(tmp_path / "job.json")["data_version"] == "2"


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
    # An importer gives the same artifact whatever lies there; this does not.
    version = tasks["Finetune"]["inputs"]["parameters"]["start_version"]["taskOutputParameter"]
    assert version == {"producerTask": "FinetuneStartVersion", "outputParameterKey": "version"}
    listed = parameters(job, "FinetuneStartVersion")
    assert listed["section"] == "finetune"
    assert json.loads(listed["source"]) == {"start_from": "gs://models/vit_b"}


def test_a_given_checkpoint_and_truth_are_looked_at_in_the_run(tmp_path):
    job = written(
        tmp_path,
        request("finetune.start_from=gs://m/ckpt-1", "evaluation.ground_truth=gs://t/val.json"),
    )
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    for step, producer in (
        ("FinetuneCheckpoint", "FinetuneStartVersion"),
        ("CocoEvaluator", "GroundTruthVersion"),
    ):
        assert tasks[step]["inputs"]["parameters"]["fingerprint"] == {
            "taskOutputParameter": {"producerTask": producer, "outputParameterKey": "version"}
        }
        assert tasks[producer]["cachingOptions"] == {}
    assert parameters(job, "CocoEvaluator")["truth_of"] == ""
    given = tasks["GroundTruthVersion"]["inputs"]["parameters"]["given"]
    assert given == {"componentInputParameter": "evaluation_overrides"}


def test_some_stages(tmp_path):
    job = written(tmp_path, request(stages=["pretrain"]))
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    assert set(tasks) == {"PretrainDataVersion", "PretrainExamples", "Pretrain"}


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
    def places(wanted, **parameters):
        return vertex_job.places_on_this_machine(wanted, parameters)

    assert places(request()) == []
    wanted = request("data.finetune.images.val=/home/me/val", "push.destination=/gcs/bucket/models")
    assert places(wanted) == ["data.finetune.images.val=/home/me/val"]
    assert places(wanted, finetune_data="data.finetune.images.val=gs://data/val") == []
    here = "data.finetune.images.train=/home/me/train"
    assert places(request(), finetune_data=here) == [here]
    with pytest.raises(ConfigError, match="names no place of this data set"):
        places(request(), finetune_data="finetune.steps=3")
