"""Keeps pushed models in Vertex AI's Model Registry, and lets an endpoint serve them."""

import json
from collections.abc import Mapping
from typing import Any

from absl import logging

from components import vertex_endpoint
from pix2seq_model.errors import ConfigError, ModelError

# A model's labels; the digest tells whether exactly this model is registered already.
_DIGEST_LABEL = "pix2seq-digest"
_DIGEST_LENGTH = 32
_SCHEMA = (
    "gs://google-cloud-aiplatform/schema/modelevaluation/image_object_detection_metrics_1.0.0.yaml"
)
_THRESHOLDS = {"AP50": 0.5, "AP75": 0.75}  # Of boxes' overlap, as the schema lists them.


def registry_settings(push: Mapping[str, Any], **given: Any) -> str:
    """What the pusher is told of the registry and the endpoint: JSON, or "" where none is named.

    Args:
      push: the config's `push` section.
      **given: `project`, `region`, `alias` that the section leaves open; `labels`,
        `service_account`, `encryption_key`.

    Raises:
      ConfigError: project or region is not known.
    """
    registry, endpoint = push["registry"], push["endpoint"]
    if not (registry["name"] or endpoint["name"]):
        return ""
    section = {**registry, "name": registry["name"] or endpoint["name"]}
    wanted = {**given, **{name: value for name, value in section.items() if value}}
    for field in ("project", "region"):
        if not wanted.get(field):
            raise ConfigError(
                f"push.registry.name={wanted['name']} needs push.registry.{field}, where the run "
                "itself is not on Vertex AI."
            )
    return json.dumps({**wanted, "endpoint": endpoint}, sort_keys=True)


def register(
    record: Mapping[str, Any], settings: Mapping[str, Any], metrics: Mapping[str, float]
) -> dict[str, str]:
    """Uploads a pushed model as a version of the registry's model; an endpoint may serve it.

    A model that is the registry's version already is not uploaded again.

    Args:
      record: the content of the version's `pushed.json`; its `path` must be `gs://`.
      settings: as `registry_settings` writes them.
      metrics: what the evaluation measured.

    Returns:
      `model`, its resource name with the version, and `endpoint` if one serves it.

    Raises:
      ModelError: the model is not in a bucket, or Vertex AI refuses it.
    """
    # Not above: it takes seconds, and most pushes go only to a folder.
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud import aiplatform

    if not record["path"].startswith("gs://"):
        raise ModelError(
            f"push.registry.name={settings['name']}: Vertex AI reads models from a bucket, and "
            f"this one was pushed to {record['path']}. Give a push.destination like gs://bucket/m."
        )
    # The resources find project and region here; credentials are those of the machine.
    aiplatform.init(
        project=settings["project"],
        location=settings["region"],
        encryption_spec_key_name=settings.get("encryption_key") or None,
    )
    try:
        model = _uploaded(record, settings, metrics)
        found = {"model": model.versioned_resource_name}
        if settings["endpoint"]["name"]:
            found["endpoint"] = vertex_endpoint.serve(model, record["version"], settings)
    except GoogleAPICallError as error:
        raise ModelError(
            f"push.registry.name={settings['name']}: Vertex AI in {settings['region']} refused the "
            f"model ({error.message}). It is in {record['path']}; push again when that is fixed."
        ) from error
    return found


def _uploaded(
    record: Mapping[str, Any], settings: Mapping[str, Any], metrics: Mapping[str, float]
) -> Any:
    from google.cloud import aiplatform

    digest = record["model_digest"][:_DIGEST_LENGTH]
    versions = aiplatform.Model.list(filter=f'display_name="{settings["name"]}"')
    for version in versions:
        if version.labels.get(_DIGEST_LABEL) == digest:
            return version
    model = aiplatform.Model.upload(
        display_name=settings["name"],
        # Another version of the same model, where there is one.
        parent_model=versions[0].resource_name if versions else None,
        version_aliases=[settings["alias"]],
        version_description=", ".join(f"{name} {value:.4f}" for name, value in metrics.items()),
        artifact_uri=record["path"],
        serving_container_image_uri=settings["serving_image"],
        labels={**settings["labels"], _DIGEST_LABEL: digest},
    )
    _import_metrics(model, metrics)
    return model


def _import_metrics(model: Any, metrics: Mapping[str, float]) -> None:
    """Adds an evaluation to a version, which the console shows; the push does not fail without."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud.aiplatform_v1.types import ModelEvaluation

    thresholds = [
        {"iouThreshold": threshold, "meanAveragePrecision": metrics[name]}
        for name, threshold in _THRESHOLDS.items()
        if name in metrics
    ]
    content = {
        "displayName": "COCO",
        "metricsSchemaUri": _SCHEMA,
        "metrics": {
            "boundingBoxMeanAveragePrecision": metrics.get("AP", 0.0),
            "boundingBoxMetrics": thresholds,
        },
    }
    try:
        model.api_client.import_model_evaluation(
            parent=model.versioned_resource_name,
            model_evaluation=ModelEvaluation.from_json(json.dumps(content)),
        )
    except GoogleAPICallError as error:
        logging.warning("%s has no evaluation in the registry: %s", model.name, error.message)
