"""Serves a registered model at a Vertex AI endpoint."""

from collections.abc import Mapping
from typing import Any


def serve(model: Any, version: int, settings: Mapping[str, Any]) -> str:
    """Lets an endpoint serve a model; others are taken from the endpoint.

    The endpoint is made if there is none of that name. All traffic goes to the new model once it
    answers, and then the old ones are removed: no request is lost. A model that the endpoint
    serves already stays.

    Args:
      model: the client's `Model`, which is initialised for project and region.
      version: number of the push.
      settings: see `vertex_registry.registry_settings`.

    Returns:
      The endpoint's resource name.
    """
    from google.cloud import aiplatform  # Takes seconds.

    wanted = settings["endpoint"]
    found = aiplatform.Endpoint.list(filter=f'display_name="{wanted["name"]}"')
    named = {"display_name": wanted["name"], "labels": settings["labels"]}
    endpoint = found[0] if found else aiplatform.Endpoint.create(**named)
    before = endpoint.list_models()
    name = f"{wanted['name']}-{version}"
    if name not in {deployed.display_name for deployed in before}:
        account = settings.get("service_account") or None
        machines = {**_machines(wanted), "service_account": account}
        endpoint.deploy(model, deployed_model_display_name=name, **machines)
        for deployed in before:
            endpoint.undeploy(deployed.id)
    return endpoint.resource_name


def _machines(wanted: Mapping[str, Any]) -> dict[str, Any]:
    machines = {
        "machine_type": wanted["machine_type"],
        "min_replica_count": wanted["min_replicas"],
        "max_replica_count": wanted["max_replicas"],
        "traffic_percentage": 100,
    }
    if wanted["accelerator_count"]:
        machines |= {name: wanted[name] for name in ("accelerator_type", "accelerator_count")}
    return machines
