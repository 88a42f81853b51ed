"""What Vertex AI remembers between runs: artifacts, and what the finished steps gave."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

STORE = "projects/123/locations/europe-west4/metadataStores/default"
_QUERY = re.compile(r'^(?P<field>[\w.]+)="?(?P<value>[^"]*)"?$')


@dataclasses.dataclass
class Artifact:
    """One artifact.

    Attributes:
      name: resource name, by which Vertex AI tells artifacts apart.
      title: of its type, such as tfx.Model.
      schema: of its type, as the job file has it: a field of `ArtifactTypeSchema` and its value.
      uri: where its files are.
      metadata: what the step wrote about it.
    """

    name: str
    title: str
    schema: dict[str, str]
    uri: str
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)

    def runtime(self) -> dict[str, Any]:
        """As a step is told of it: a `RuntimeArtifact`."""
        return {
            "name": self.name,
            "type": self.schema,
            "uri": self.uri,
            "metadata": self.metadata,
        }


class MetadataStore:
    """Kept in a file, so that the next run of the pipeline finds it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        content = json.loads(file.read_text()) if file.exists() else {"artifacts": [], "done": {}}
        self._artifacts = [Artifact(**row) for row in content["artifacts"]]
        self._done: dict[str, dict[str, list[str]]] = content["done"]

    def add(self, artifact: Artifact) -> None:
        """Adds an artifact; the names of all are different."""
        self._artifacts.append(artifact)
        self._save()

    def new_name(self) -> str:
        return f"{STORE}/artifacts/{len(self._artifacts) + 1:08d}"

    def latest(self, query: str) -> Artifact | None:
        """The latest artifact that a resolver's query finds, or None.

        Raises:
          ValueError: a condition that is not known here.
        """
        conditions = [part.strip() for part in query.split(" AND ")]
        found = [a for a in self._artifacts if all(_fits(a, c) for c in conditions)]
        return found[-1] if found else None

    def same(self, title: str, uri: str, metadata: dict[str, Any]) -> Artifact | None:
        """An artifact that says just this, as importers look for one before they make it."""
        wanted = (title, uri, metadata)
        found = [a for a in self._artifacts if (a.title, a.uri, a.metadata) == wanted]
        return found[-1] if found else None

    def finished(self, key: str) -> dict[str, list[Artifact]] | None:
        """The outputs of a step that ran before with the same key."""
        names = self._done.get(key)
        if names is None:
            return None
        by_name = {artifact.name: artifact for artifact in self._artifacts}
        return {output: [by_name[name] for name in found] for output, found in names.items()}

    def remember(self, key: str, outputs: dict[str, list[Artifact]]) -> None:
        """Notes a finished step."""
        self._done[key] = {name: [a.name for a in found] for name, found in outputs.items()}
        self._save()

    def _save(self) -> None:
        rows = [dataclasses.asdict(artifact) for artifact in self._artifacts]
        self._file.write_text(json.dumps({"artifacts": rows, "done": self._done}, indent=1))


def _fits(artifact: Artifact, condition: str) -> bool:
    found = _QUERY.match(condition)
    if not found:
        raise ValueError(f"a query that is not known here: {condition}")
    field, value = found["field"], found["value"]
    if field == "schema_title":
        return artifact.title == value
    if field == "name":
        return artifact.name == value
    if field == "state":
        return value == "LIVE"
    if field.startswith("metadata.") and field.endswith(".number_value"):
        return artifact.metadata.get(field.split(".")[1]) == float(value)
    if field.startswith("metadata.") and field.endswith(".string_value"):
        return artifact.metadata.get(field.split(".")[1]) == value
    raise ValueError(f"a query that is not known here: {condition}")


def cache_key(
    pipeline: str, executor: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Any]
) -> str:
    """What decides whether a step runs again, as Vertex AI documents it.

    The pipeline's name, the container (image, command, arguments), the inputs' values and
    artifacts, and the names and types of the outputs.
    """
    container = {name: executor.get(name) for name in ("image", "command", "args", "env")}
    parts = [pipeline, container, inputs, outputs]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
