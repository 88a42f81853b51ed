"""Google's own client deploys a registered model at a local stand-in for Vertex AI."""

import pytest

from components.vertex_registry import register
from tests.fixtures.vertex_models import OLD, PLACE, RECORD, models_service, posted, settings


@pytest.fixture
def vertex():
    with models_service() as service:
        yield service


def test_a_version_takes_over_the_traffic(vertex):
    found = register(RECORD, settings(max_replicas=3), {})
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
    assert found == {"endpoint": f"{PLACE}/endpoints/9", "model": f"{PLACE}/models/3@2"}


def test_with_accelerators(vertex):
    register(RECORD, settings(accelerator_count=1), {})
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
    register(RECORD, settings(), {})
    made = next(b for v, p, b in vertex.asked if v == "POST" and p.startswith(f"/v1/{PLACE}/end"))
    assert made["displayName"] == "detector"
    assert made["labels"] == {"team": "vision"}
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
    register(RECORD, settings(), {})
    assert [path for verb, path, _ in vertex.asked if verb == "POST"] == []
