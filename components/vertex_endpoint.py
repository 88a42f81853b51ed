"""Serves a pushed model at a Vertex AI endpoint."""

import json
from typing import Any

from pix2seq_model.errors import ConfigError, ModelError

# A model's labels; the digest tells whether exactly this model is served already.
_DIGEST_LABEL = "pix2seq-digest"
_DIGEST_LENGTH = 32


def serve(record: dict[str, Any], settings: dict[str, Any]) -> dict[str, str]:
    """Uploads a pushed model and lets an endpoint serve it; others are taken from the endpoint.

    The endpoint is made if there is none of that name. All traffic goes to the new model once it
    answers, and then the old ones are removed: no request is lost. A model that the endpoint
    serves already stays.

    Args:
      record: the content of the version's `pushed.json`; its `path` must be `gs://`.
      settings: the config's `push.endpoint` section, with `labels` and `service_account`.

    Returns:
      The resource names: `endpoint`, `model`.

    Raises:
      ModelError: the model is not in a bucket, or Vertex AI refuses it.
    """
    # Not above: it takes seconds, and most pushes go only to a folder.
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud import aiplatform

    if not record["path"].startswith("gs://"):
        raise ModelError(
            f"push.endpoint.name={settings['name']}: Vertex AI reads models from a bucket, and "
            f"this one was pushed to {record['path']}. Give a push.destination like gs://bucket/m."
        )
    # The resources find project and region here; credentials are those of the machine.
    aiplatform.init(project=settings["project"], location=settings["region"])
    try:
        found = aiplatform.Endpoint.list(filter=f'display_name="{settings["name"]}"')
        named = {"display_name": settings["name"], "labels": settings["labels"]}
        endpoint = found[0] if found else aiplatform.Endpoint.create(**named)
        model = _uploaded(record, settings)
        before = endpoint.list_models()
        name = f"{settings['name']}-{record['version']}"
        if name not in {deployed.display_name for deployed in before}:
            endpoint.deploy(model, deployed_model_display_name=name, **_machines(settings))
            for deployed in before:
                endpoint.undeploy(deployed.id)
    except GoogleAPICallError as error:
        raise ModelError(
            f"push.endpoint.name={settings['name']}: Vertex AI in {settings['region']} refused the "
            f"model ({error.message}). It is in {record['path']}; push again when that is fixed."
        ) from error
    return {"endpoint": endpoint.resource_name, "model": model.resource_name}


def endpoint_settings(section: dict[str, Any], **given: Any) -> str:
    """What the pusher is told of an endpoint: JSON, or "" where none is named.

    Args:
      section: the config's `push.endpoint`.
      **given: `project`, `region` that the section leaves open; `labels`, `service_account`.

    Raises:
      ConfigError: project or region is not known.
    """
    if not section["name"]:
        return ""
    wanted = {**given, **{name: value for name, value in section.items() if value != ""}}
    for field in ("project", "region"):
        if not wanted.get(field):
            raise ConfigError(
                f"push.endpoint.name={section['name']} needs push.endpoint.{field}, where the run "
                "itself is not on Vertex AI."
            )
    return json.dumps(wanted, sort_keys=True)


def _uploaded(record: dict[str, Any], settings: dict[str, Any]) -> Any:
    from google.cloud import aiplatform

    digest = record["model_digest"][:_DIGEST_LENGTH]
    name = settings["name"]
    versions = aiplatform.Model.list(filter=f'display_name="{name}"')
    for version in versions:
        if version.labels.get(_DIGEST_LABEL) == digest:
            return version
    return aiplatform.Model.upload(
        display_name=name,
        # Another version of the same model, where there is one.
        parent_model=versions[0].resource_name if versions else None,
        artifact_uri=record["path"],
        serving_container_image_uri=settings["serving_image"],
        labels={**settings["labels"], _DIGEST_LABEL: digest},
    )


def _machines(settings: dict[str, Any]) -> dict[str, Any]:
    machines = {
        "machine_type": settings["machine_type"],
        "min_replica_count": settings["min_replicas"],
        "max_replica_count": settings["max_replicas"],
        "traffic_percentage": 100,
        "service_account": settings.get("service_account") or None,
    }
    if settings["accelerator_count"]:
        machines |= {name: settings[name] for name in ("accelerator_type", "accelerator_count")}
    return machines
