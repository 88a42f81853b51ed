"""What is put into the compiled job file, as a store of artifacts and Vertex AI's schema see it."""

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.pipeline import baseline_of
from pipelines.request import Request
from pipelines.vertex import completed_job
from pix2seq_model.experiment import load_config
from tests.cloud.vertex_executor.metadata import Artifact, MetadataStore
from tests.fixtures.vertex_request import BUCKET, container, custom_config, request, written


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return written(tmp_path_factory.mktemp("job"), request())


def owner(config, *overrides):
    return baseline_of(
        Request(
            config=load_config(config, (*BUCKET, *overrides)),
            config_name=config,
            pipeline_root="gs://bucket/full",
        )
    )


def blessing(number, **metadata):
    name, kind = f"blessing-{number}", "tfx.ModelBlessing"
    return Artifact(name, kind, {}, f"gs://b/{number}", {"blessed": 1.0, **metadata})


def test_the_baseline_is_of_this_pipeline_and_these_data(job, tmp_path):
    executors = job["pipelineSpec"]["deploymentSpec"]["executors"]
    resolver = executors["LatestBlessedModel-model-blessing-resolver_executor"]["resolver"]
    query = resolver["outputArtifactQueries"]["model_blessing"]["filter"]
    store = MetadataStore(tmp_path / "metadata.json")
    own = owner("configs/full.py:vit_b,640")
    others = [
        owner("configs/full.py:vit_l,640"),
        owner("configs/full.py:vit_b,640", "data.finetune.images.train=gs://theirs/train"),
    ]
    assert len({own, *others}) == 3
    for number, whose in enumerate(others):
        store.add(blessing(number, baseline_of=whose))
    store.add(blessing(8))  # Of a program that knows nothing of this.
    assert store.latest(query) is None
    store.add(blessing(9, baseline_of=own))
    store.add(blessing(10, baseline_of=others[0]))
    assert store.latest(query).name == "blessing-9"


def test_another_seed_or_length_has_the_same_baseline():
    same = owner("configs/full.py:vit_b,640", "seed=9", "finetune.learning_rate=1e-6")
    assert same == owner("configs/full.py:vit_b,640")


def test_a_compiler_that_writes_something_else_is_noticed(job):
    spec = {"deploymentSpec": {"executors": {}}}
    with pytest.raises(ValueError, match="0 queries for a blessing"):
        completed_job._own_baseline(spec, "x")


def test_the_data_are_looked_at_in_every_run_and_what_is_found_goes_to_the_conversion(job):
    spec = job["pipelineSpec"]
    tasks = spec["root"]["dag"]["tasks"]
    for stage in ("Pretrain", "Finetune"):
        version = tasks[f"{stage}Examples"]["inputs"]["parameters"]["data_version"]
        assert version == {
            "taskOutputParameter": {
                "producerTask": f"{stage}DataVersion",
                "outputParameterKey": "version",
            }
        }
        looking = tasks[f"{stage}DataVersion"]
        assert looking["cachingOptions"] == {}
        component = spec["components"][looking["componentRef"]["name"]]
        assert component["outputDefinitions"]["parameters"] == {
            "version": {"parameterType": "STRING"}
        }
        # No artifact of the step goes there: that would be another one in each run.
        assert "artifacts" not in tasks[f"{stage}Examples"]["inputs"]


def test_a_parameter_of_an_unknown_task_is_noticed():
    source = {"taskOutputParameter": {"producerTask": "Gone_task", "outputParameterKey": "x"}}
    task = {"inputs": {"parameters": {"p": source}}}
    spec = {"root": {"dag": {"tasks": {"Step": task}}}, "deploymentSpec": {"executors": {}}}
    with pytest.raises(ValueError, match="a parameter of Gone_task, which is no task"):
        completed_job._data_versions(spec)


def test_every_step_that_runs_something_is_tried_again(job, tmp_path):
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    tried = {
        name: task["retryPolicy"]["maxRetryCount"]
        for name, task in tasks.items()
        if "retryPolicy" in task
    }
    assert tried == dict.fromkeys([name for name in tasks if "resolver" not in name], 2)
    json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    once = written(tmp_path, request("cloud.retries=0"))["pipelineSpec"]["root"]["dag"]["tasks"]
    assert not any("retryPolicy" in task for task in once.values())


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_a_model_is_evaluated_on_the_backend_that_trains_it(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    job = written(tmp_path, request())
    on_backend = [{"name": "KERAS_BACKEND", "value": backend}]
    for step in ("Pretrain", "Finetune", "CocoEvaluator", "EvaluationReport"):
        assert container(job, step)["env"] == on_backend
    (pool,) = custom_config(job, "Finetune")["ai_platform_training_args"]["job_spec"][
        "worker_pool_specs"
    ]
    assert pool["container_spec"]["env"][:1] == on_backend
    json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())


def test_another_backend_converts_nothing_again(job):
    for step in ("PretrainExamples", "FinetuneDataReport", "ModelPusher"):
        assert "env" not in container(job, step)
