"""Google's own client uploads and deploys a pushed model at a local stand-in for Vertex AI."""

import json

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform

from components.vertex_endpoint import endpoint_settings, serve
from configs import base
from pix2seq_model.errors import ConfigError, ModelError
from tests.fixtures.stand_in import stand_in

PLACE = "projects/p/locations/europe-west4"
TYPE = "type.googleapis.com/google.cloud.aiplatform.v1."
RECORD = {"path": "gs://bucket/models/17", "version": 17, "model_digest": "d" * 64}
OLD = {"id": "5", "displayName": "detector-16", "model": f"{PLACE}/models/3"}


def done(kind, content):
    """A long operation that has ended."""
    operation = f"{PLACE}/operations/1"
    return 200, {"name": operation, "done": True, "response": {"@type": TYPE + kind, **content}}


@pytest.fixture
def vertex():
    """An endpoint `detector` that serves an earlier version."""
    endpoint = {
        "name": f"{PLACE}/endpoints/9",
        "displayName": "detector",
        "deployedModels": [OLD],
        "trafficSplit": {"5": 100},
    }
    model = {
        "name": f"{PLACE}/models/3",
        "displayName": "detector",
        "versionId": "1",
        "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES"],
    }
    with stand_in() as service:
        service.answers = {
            f"GET /v1/{PLACE}/endpoints": (200, {"endpoints": [endpoint]}),
            f"GET /v1/{PLACE}/endpoints/9": (200, endpoint),
            f"POST /v1/{PLACE}/endpoints": done("Endpoint", endpoint),
            f"GET /v1/{PLACE}/models": (200, {"models": [model]}),
            f"GET /v1/{PLACE}/models/3": (200, model),
            f"GET /v1/{PLACE}/models/3%402": (200, {**model, "versionId": "2"}),
            f"POST /v1/{PLACE}/models:upload": done(
                "UploadModelResponse", {"model": f"{PLACE}/models/3", "modelVersionId": "2"}
            ),
            f"POST /v1/{PLACE}/endpoints/9:deployModel": done(
                "DeployModelResponse", {"deployedModel": {"id": "6"}}
            ),
            f"POST /v1/{PLACE}/endpoints/9:undeployModel": done("UndeployModelResponse", {}),
        }
        aiplatform.init(
            credentials=AnonymousCredentials(), api_transport="rest", api_endpoint=service.address
        )
        yield service
        aiplatform.initializer.global_config.__init__()


def settings(**changed):
    section = {**base.get_config().push.endpoint.to_dict(), "name": "detector", **changed}
    text = endpoint_settings(
        section,
        project="p",
        region="europe-west4",
        labels={"team": "vision"},
        service_account="s@p.iam",
    )
    return json.loads(text)


def posted(service, suffix):
    return [body for verb, path, body in service.asked if verb == "POST" and suffix in path]


def test_a_version_is_uploaded_and_takes_over_the_traffic(vertex):
    served = serve(RECORD, settings(max_replicas=3))
    (upload,) = posted(vertex, "models:upload")
    assert upload["parentModel"] == f"{PLACE}/models/3"
    assert upload["model"]["artifactUri"] == "gs://bucket/models/17"
    assert upload["model"]["labels"] == {"team": "vision", "pix2seq-digest": "d" * 32}
    assert upload["model"]["containerSpec"]["imageUri"].startswith("europe-docker.pkg.dev/")
    (deploy,) = posted(vertex, ":deployModel")
    wanted = deploy["deployedModel"]
    assert wanted["displayName"] == "detector-17"
    assert wanted["serviceAccount"] == "s@p.iam"
    resources = wanted["dedicatedResources"]
    assert resources["machineSpec"] == {"machineType": "n1-standard-4"}
    assert (resources["minReplicaCount"], resources["maxReplicaCount"]) == (1, 3)
    # 0 is the model that is being deployed.
    assert {key: share for key, share in deploy["trafficSplit"].items() if share} == {"0": 100}
    (undeploy,) = posted(vertex, ":undeployModel")
    assert undeploy["deployedModelId"] == "5"
    assert [p for v, p, _ in vertex.asked if v == "POST"].index(
        f"/v1/{PLACE}/endpoints/9:deployModel?%24alt=json%3Benum-encoding%3Dint"
    ) < len(posted(vertex, "")) - 1
    assert served["endpoint"] == f"{PLACE}/endpoints/9"
    assert served["model"] == f"{PLACE}/models/3"


def test_with_accelerators(vertex):
    serve(RECORD, settings(accelerator_count=1))
    (deploy,) = posted(vertex, ":deployModel")
    machine = deploy["deployedModel"]["dedicatedResources"]["machineSpec"]
    assert machine["acceleratorCount"] == 1


def test_the_first_model_makes_the_endpoint(vertex):
    vertex.answers |= {
        f"GET /v1/{PLACE}/endpoints": (200, {}),
        f"GET /v1/{PLACE}/models": (200, {}),
        f"GET /v1/{PLACE}/endpoints/9": (
            200,
            {"name": f"{PLACE}/endpoints/9", "displayName": "detector"},
        ),
    }
    serve(RECORD, settings())
    made = next(b for v, p, b in vertex.asked if v == "POST" and p.startswith(f"/v1/{PLACE}/end"))
    assert made["displayName"] == "detector"
    assert made["labels"] == {"team": "vision"}
    assert "parentModel" not in posted(vertex, "models:upload")[0]
    assert not posted(vertex, ":undeployModel")


def test_what_is_served_already_stays(vertex):
    label = {"pix2seq-digest": "d" * 32}
    model = {"name": f"{PLACE}/models/3", "displayName": "detector", "labels": label}
    served = {**OLD, "displayName": "detector-17"}
    vertex.answers |= {
        f"GET /v1/{PLACE}/models": (200, {"models": [model]}),
        f"GET /v1/{PLACE}/endpoints/9": (
            200,
            {"name": f"{PLACE}/endpoints/9", "deployedModels": [served]},
        ),
    }
    serve(RECORD, settings())
    assert [path for verb, path, _ in vertex.asked if verb == "POST"] == []


def test_a_refusal_says_where_the_model_is(vertex):
    vertex.answers[f"POST /v1/{PLACE}/models:upload"] = (403, {"error": {"message": "no role"}})
    with pytest.raises(
        ModelError, match=r"refused the model \(.*no role.*in gs://bucket/models/17"
    ):
        serve(RECORD, settings())


def test_a_model_on_this_machine_cannot_be_served():
    with pytest.raises(ModelError, match=r"Give a push\.destination like gs://"):
        serve({**RECORD, "path": "/models/17"}, settings())


def test_no_name_is_no_endpoint():
    assert endpoint_settings(base.get_config().push.endpoint.to_dict(), labels={}) == ""


def test_a_run_on_this_machine_must_name_the_project():
    section = {**base.get_config().push.endpoint.to_dict(), "name": "detector", "region": "r"}
    with pytest.raises(ConfigError, match=r"needs push\.endpoint\.project"):
        endpoint_settings(section, labels={})
