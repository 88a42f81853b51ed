"""Finds out what lies in a bucket now, so that the steps behind it run again when it changed.

Vertex AI takes a step from its cache if the step's inputs are those of an earlier run. An address
stays the same whatever lies there; what this step says does not, so it goes to the others as an
input of theirs. It is never taken from the cache itself.
"""

import hashlib
import json
from typing import Any

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.data_places import given_place, places_of, with_places
from components.remembered_failure import note_of, remembered
from components.specs import Artifacts, MadeBySpec, channels, parameters
from components.storage.bucket_listing import list_place


class DataVersionSpec(component_spec.ComponentSpec):
    """Output and settings of `DataVersion`."""

    PARAMETERS = parameters(source=str, section=str, given=str, data_version=str)
    INPUTS = channels()
    OUTPUTS = channels(version=standard_artifacts.String)


class Executor(base_executor.BaseExecutor):
    """Lists the places."""

    def Do(  # noqa: N802
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        version = artifact_utils.get_single_instance(output_dict["version"])
        with remembered(note_of(self._context, version.uri)):
            places = _places(
                json.loads(exec_properties["source"]),
                exec_properties["section"],
                exec_properties["given"],
            )
            found = _version(places, exec_properties["data_version"])
        version.write(found)


def _places(source: dict[str, Any], section: str, given: str) -> dict[str, str]:
    if "annotations" in source:
        return places_of(with_places(source, section, given), section)
    places = {f"{section}.{name}": place for name, place in source.items()}
    return {name: given_place(name, given) or place for name, place in places.items()}


def _version(places: dict[str, str], data_version: str) -> str:
    from google.cloud.storage import Client

    client = Client(project=None)  # Listing asks on nobody's account.
    parts = [data_version]
    for setting, place in sorted(places.items()):
        listing = list_place(client, place, setting)
        print(f"{setting}={place} holds objects: {listing.count:,}", flush=True)
        parts.append(f"{setting}={place} {listing.digest}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


class DataVersion(MadeBySpec, base_component.BaseComponent):
    """A digest of what lies at the places of a section of the config, as a text.

    Args:
      source: a `data` section, or settings that each name a place.
      section: its name.
      given: overrides of places that a submission may set, between blanks; others do not count.
      data_version: counts as part of the data.
    """

    SPEC_CLASS = DataVersionSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
