"""The job that is submitted names its images by their digests, as a registry says them."""

import hashlib
import json

import pytest
import requests

from pipelines.vertex import job as vertex_job
from pipelines.vertex.findings import Endpoints
from pipelines.vertex.pinned_job import pinned_job
from tests.fixtures.stand_in import stand_in
from tests.fixtures.vertex_request import container, custom_config, request

MANIFEST = {"config": {"digest": "sha256:c"}, "schemaVersion": 2}
DIGEST = f"sha256:{hashlib.sha256(json.dumps(MANIFEST).encode()).hexdigest()}"


@pytest.fixture(scope="module")
def registry():
    with stand_in() as registry:
        registry.answers = {"GET /v2/p/r/pix2seq/manifests/1": (200, MANIFEST)}
        registry.name = f"{registry.address.removeprefix('http://')}/p/r/pix2seq"
        yield registry


@pytest.fixture
def job_file(tmp_path, registry):
    def job_file(image, *overrides):
        wanted = vertex_job.on_cloud(request(*overrides), image=image)
        vertex_job.write_job(wanted, tmp_path / "job.json")
        return tmp_path / "job.json"

    return job_file


def pinned(path, *, in_place=True):
    said = []
    endpoints = Endpoints(registry_scheme="http")
    found = pinned_job(
        path,
        project="p",
        say=said.append,
        in_place=in_place,
        session=requests.Session(),
        endpoints=endpoints,
    )
    return json.loads(found.read_text()), "\n".join(said), found


def images(job):
    """By step; Dataflow's workers and the training jobs under names of their own."""
    executors = job["pipelineSpec"]["deploymentSpec"]["executors"]
    found = {
        name: executor["container"]["image"]
        for name, executor in executors.items()
        if "container" in executor
    }
    (found["workers"],) = (
        argument.partition("=")[2]
        for argument in container(job, "FinetuneExamples")["args"]
        if argument.startswith("--sdk_container_image=")
    )
    training = custom_config(job, "Finetune")["ai_platform_training_args"]["job_spec"]
    (pool,) = training["worker_pool_specs"]
    return {**found, "training": pool["container_spec"]["image_uri"]}


def test_steps_training_jobs_and_dataflows_workers_name_the_digest(registry, job_file):
    path = job_file(f"{registry.name}:1")
    before = json.loads(path.read_text())
    assert {*images(before).values()} == {f"{registry.name}:1"}
    job, said, found = pinned(path)
    assert found == path
    assert {*images(job).values()} == {f"{registry.name}@{DIGEST}"}
    assert said == f"Image {registry.name}:1 is {DIGEST}"
    # Nothing else is changed, and nothing is asked a second time.
    name = json.dumps(f"{registry.name}@{DIGEST}")[1:-1]
    assert json.loads(json.dumps(job).replace(name, f"{registry.name}:1")) == before
    asked = len(registry.asked)
    assert pinned(path)[0] == job
    assert len(registry.asked) == asked


def test_a_file_that_was_written_earlier_stays_as_it_is(registry, job_file):
    path = job_file(f"{registry.name}:1")
    before = path.read_bytes()
    job, _, found = pinned(path, in_place=False)
    assert found != path
    assert found.name == path.name
    assert path.read_bytes() == before
    assert {*images(job).values()} == {f"{registry.name}@{DIGEST}"}


def test_where_the_registry_does_not_say_it_the_tag_stays_with_a_warning(registry, job_file):
    path = job_file(f"{registry.name}:2", f"cloud.dataflow.image={registry.name}:1")
    job, said, _ = pinned(path)
    workers = images(job).pop("workers")
    assert workers == f"{registry.name}@{DIGEST}"
    assert images(job)["training"] == f"{registry.name}:2"
    assert f"warning: which image {registry.name}:2 is now could not be asked (404" in said


def test_a_registry_that_does_not_answer(job_file):
    job, said, _ = pinned(job_file("127.0.0.1:9/p:1"))
    assert images(job)["training"] == "127.0.0.1:9/p:1"
    assert "warning: which image 127.0.0.1:9/p:1 is now could not be asked" in said
