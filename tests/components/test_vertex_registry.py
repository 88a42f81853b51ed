"""Google's own client uploads a pushed model to a local stand-in for the registry."""

import json

import pytest
from google.cloud.aiplatform_v1.types import Model, ModelEvaluation

from components.vertex_registry import register, registry_settings
from configs import base
from pix2seq_model.errors import ConfigError, ModelError
from tests.fixtures.vertex_models import PLACE, RECORD, models_service, posted, settings

METRICS = {"AP": 0.4125, "AP50": 0.61, "AP75": 0.44}
WITHOUT_ENDPOINT = {"registry": {"name": "boxes"}, "name": ""}


@pytest.fixture
def vertex():
    with models_service() as service:
        yield service


def test_a_version_with_alias_labels_and_metrics(vertex):
    found = register(RECORD, settings(**WITHOUT_ENDPOINT), METRICS)
    assert found == {"model": f"{PLACE}/models/3@2"}
    (upload,) = posted(vertex, "models:upload")
    assert upload["parentModel"] == f"{PLACE}/models/3"
    model = Model.from_json(json.dumps(upload["model"]))
    assert model.display_name == "boxes"
    assert model.artifact_uri == "gs://bucket/models/17"
    assert model.labels == {"team": "vision", "pix2seq-digest": "d" * 32}
    assert model.container_spec.image_uri.startswith("europe-docker.pkg.dev/")
    assert list(model.version_aliases) == ["pix2seq-coco", "default"]
    assert model.version_description == "AP 0.4125, AP50 0.6100, AP75 0.4400"
    assert not posted(vertex, "/endpoints")
    (imported,) = posted(vertex, "evaluations:import")
    evaluation = ModelEvaluation.from_json(json.dumps(imported["modelEvaluation"]))
    assert "image_object_detection_metrics" in evaluation.metrics_schema_uri
    assert imported["modelEvaluation"]["metrics"] == {
        "boundingBoxMeanAveragePrecision": 0.4125,
        "boundingBoxMetrics": [
            {"iouThreshold": 0.5, "meanAveragePrecision": 0.61},
            {"iouThreshold": 0.75, "meanAveragePrecision": 0.44},
        ],
    }


def test_the_first_version_makes_the_model(vertex):
    vertex.answers[f"GET /v1/{PLACE}/models"] = (200, {})
    register(RECORD, settings(**WITHOUT_ENDPOINT), METRICS)
    assert "parentModel" not in posted(vertex, "models:upload")[0]


def test_a_key_and_an_alias_of_ones_own(vertex):
    key = "projects/p/locations/europe-west4/keyRings/ring/cryptoKeys/key"
    wanted = settings(registry={"alias": "best"})
    register(RECORD, {**wanted, "encryption_key": key}, METRICS)
    (upload,) = posted(vertex, "models:upload")
    assert upload["model"]["encryptionSpec"] == {"kmsKeyName": key}
    assert upload["model"]["versionAliases"] == ["best", "default"]


def test_what_is_registered_already_is_not_uploaded_again(vertex):
    label = {"pix2seq-digest": "d" * 32}
    model = {"name": f"{PLACE}/models/3", "displayName": "boxes", "labels": label}
    vertex.answers[f"GET /v1/{PLACE}/models"] = (200, {"models": [{**model, "versionId": "1"}]})
    register(RECORD, settings(**WITHOUT_ENDPOINT), METRICS)
    assert posted(vertex, "") == []


def test_without_an_evaluation_in_the_console_the_model_is_pushed_all_the_same(vertex):
    vertex.answers[f"POST /v1/{PLACE}/models/3%402/evaluations:import"] = (400, {})
    assert register(RECORD, settings(**WITHOUT_ENDPOINT), METRICS)


def test_a_refusal_says_where_the_model_is(vertex):
    vertex.answers[f"POST /v1/{PLACE}/models:upload"] = (403, {"error": {"message": "no role"}})
    with pytest.raises(
        ModelError, match=r"refused the model \(.*no role.*in gs://bucket/models/17"
    ):
        register(RECORD, settings(), METRICS)


def test_a_model_on_this_machine_cannot_be_registered():
    with pytest.raises(ModelError, match=r"Give a push\.destination like gs://"):
        register({**RECORD, "path": "/models/17"}, settings(), METRICS)


def test_no_name_is_no_registry():
    assert registry_settings(base.get_config().push.to_dict(), labels={}) == ""


def test_a_run_on_this_machine_must_name_the_project():
    push = base.get_config().push.to_dict()
    push["registry"] |= {"name": "boxes", "region": "r"}
    with pytest.raises(ConfigError, match=r"needs push\.registry\.project"):
        registry_settings(push, labels={})
