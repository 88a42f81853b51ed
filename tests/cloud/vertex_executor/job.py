"""A compiled job file: its tasks, their order, and what each of them is given."""

import dataclasses
import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.cloud.vertex_executor.metadata import Artifact

_PLACEHOLDER = re.compile(r"\{\{(\$[^}]*)\}\}")
_KNOWN_OF_TASKS = {
    *("taskInfo", "inputs", "dependentTasks", "cachingOptions", "componentRef", "triggerPolicy"),
    "retryPolicy",
}


@dataclasses.dataclass
class Ended:
    """How a step ended.

    Attributes:
      state: SUCCEEDED, CACHED, SKIPPED, FAILED, or NOT_RUN after a failure before it.
      outputs: its artifacts.
      parameters: its output parameters.
      command: of its process, if it had one.
      attempts: processes that were started for it.
    """

    state: str
    outputs: dict[str, list[Artifact]] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    command: list[str] = dataclasses.field(default_factory=list)
    attempts: int = 0


def read_job(job_file: Path) -> dict[str, Any]:
    """Reads a job file and checks it against the published schema, unknown fields refused.

    Raises:
      google.protobuf.json_format.ParseError: it is no pipeline job.
    """
    job = json.loads(job_file.read_text())
    content = {k: v for k, v in job.items() if k != "pipelineSpec"}
    json_format.ParseDict(content, pipeline_spec_pb2.PipelineJob())
    json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    return job


class Run:
    """One job: its tasks and what they are given."""

    def __init__(self, job: dict[str, Any], parameters: Mapping[str, Any]) -> None:
        spec = job["pipelineSpec"]
        self._spec = spec
        self.pipeline: str = spec["pipelineInfo"]["name"]
        self.name = f"{self.pipeline}-{uuid.uuid4().hex[:12]}"
        self.output_root: str = job["runtimeConfig"]["gcsOutputDirectory"].rstrip("/")
        self.tasks: dict[str, dict[str, Any]] = spec["root"]["dag"]["tasks"]
        for name, task in self.tasks.items():
            refuse_unknown(f"the task {name}", task, _KNOWN_OF_TASKS)
        self._parameters = self._pipeline_parameters(job, parameters)

    def _pipeline_parameters(self, job: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        defined = self._spec["root"].get("inputDefinitions", {}).get("parameters", {})
        config = job["runtimeConfig"]
        values = {k: d["defaultValue"] for k, d in defined.items() if "defaultValue" in d}
        values |= {k: _plain(v) for k, v in config.get("parameters", {}).items()}
        values |= {**config.get("parameterValues", {}), **given}
        if values.keys() != defined.keys():
            raise ValueError(
                f"the pipeline's parameters are {sorted(defined)}, given are {sorted(values)}"
            )
        return values

    def component(self, name: str) -> dict[str, Any]:
        return self._spec["components"][self.tasks[name]["componentRef"]["name"]]

    def executor(self, component: dict[str, Any]) -> dict[str, Any]:
        return self._spec["deploymentSpec"]["executors"][component["executorLabel"]]

    def order(self) -> list[str]:
        """The tasks, each after those that it depends on.

        Raises:
          ValueError: they wait for each other.
        """
        waiting = {name: upstream(task) for name, task in self.tasks.items()}
        order: list[str] = []
        while waiting:
            ready = sorted(name for name, others in waiting.items() if others <= set(order))
            if not ready:
                raise ValueError(f"tasks that wait for each other: {sorted(waiting)}")
            order += ready
            waiting = {name: others for name, others in waiting.items() if name not in ready}
        return order

    def inputs(
        self, name: str, ended: dict[str, Ended]
    ) -> tuple[dict[str, Any], dict[str, list[str]]]:
        """A task's inputs as it is told of them, and the names of its artifacts.

        Raises:
          ValueError: the component has no such input, or lacks one that must be there.
        """
        given = self.tasks[name].get("inputs", {})
        defined = self.component(name).get("inputDefinitions", {})
        for kind in ("artifacts", "parameters"):
            wanted = {k for k, d in defined.get(kind, {}).items() if not d.get("isOptional")}
            there = given.get(kind, {}).keys()
            if not wanted <= there or not there <= defined.get(kind, {}).keys():
                raise ValueError(f"{name}: {kind} {sorted(there)} given, {sorted(wanted)} wanted")
        artifacts = {}
        for key, source in given.get("artifacts", {}).items():
            output = source["taskOutputArtifact"]
            found = ended[output["producerTask"]].outputs
            artifacts[key] = found.get(output["outputArtifactKey"], [])
        parameters, values = {}, {}
        for key, source in given.get("parameters", {}).items():
            value = self._parameter(source, ended)
            if "parameterType" in defined["parameters"][key]:
                values[key] = value
            else:  # The older form, with types of its own.
                parameters[key] = _typed(value, defined["parameters"][key]["type"])
        told = {
            "artifacts": {
                key: {"artifacts": [artifact.runtime() for artifact in found]}
                for key, found in artifacts.items()
            },
            "parameters": parameters,
            "parameterValues": values,
        }
        return told, {key: [a.name for a in found] for key, found in artifacts.items()}

    def _parameter(self, source: dict[str, Any], ended: dict[str, Ended]) -> Any:
        if "runtimeValue" in source:
            value = source["runtimeValue"]
            if "runtimeParameter" in value:
                return self._parameters[value["runtimeParameter"]]
            return _plain(value.get("constantValue", value.get("constant")))
        if "componentInputParameter" in source:
            return self._parameters[source["componentInputParameter"]]
        output = source["taskOutputParameter"]
        return ended[output["producerTask"]].parameters[output["outputParameterKey"]]


def upstream(task: dict[str, Any]) -> set[str]:
    """The tasks that must end before this one."""
    inputs = task.get("inputs", {})
    sources = [*inputs.get("artifacts", {}).values(), *inputs.get("parameters", {}).values()]
    producers = {
        source[kind]["producerTask"]
        for source in sources
        for kind in ("taskOutputArtifact", "taskOutputParameter")
        if kind in source
    }
    return producers | set(task.get("dependentTasks", ()))


def fill(word: str, executor_input: dict[str, Any]) -> str:
    """Puts values in the place of `{{$}}`, `{{$.inputs.parameters['x']}}` and the like.

    Raises:
      IndexError: an input has no artifact.
      ValueError: a placeholder that is not known here.
    """

    def value(match: re.Match) -> str:
        path = match[1]
        if path == "$":
            return json.dumps(executor_input)
        found = re.fullmatch(
            r"\$\.(inputs|outputs)\.(\w+)\['([^']+)'\](?:\.(\w+)(?:\['([^']+)'\])?)?", path
        )
        if not found:
            raise ValueError(f"a placeholder that is not known here: {match[0]}")
        side, kind, key, field, entry = found.groups()
        if kind == "parameters" and side == "inputs":
            inputs = executor_input["inputs"]
            if key in inputs["parameterValues"]:
                return str(inputs["parameterValues"][key])
            return str(_plain(inputs["parameters"][key]))
        if kind != "artifacts" or field is None:
            raise ValueError(f"a placeholder that is not known here: {match[0]}")
        artifact = executor_input[side]["artifacts"][key]["artifacts"][0]
        return str(artifact[field][entry] if entry else artifact[field])

    return _PLACEHOLDER.sub(value, word)


def constant(source: dict[str, Any], inputs: dict[str, Any]) -> Any:
    """Of an importer: a constant, or one of the component's inputs."""
    if "runtimeParameter" in source:
        name = source["runtimeParameter"]
        return inputs["parameterValues"].get(name) or _plain(inputs["parameters"][name])
    return _plain(source.get("constantValue", source.get("constant", source)))


def _plain(value: Any) -> Any:
    """{"stringValue": "x"} and the like, or the value itself."""
    if isinstance(value, dict):
        if "intValue" in value:
            return int(value["intValue"])
        return value.get("stringValue", value.get("doubleValue"))
    return value


def _typed(value: Any, kind: str) -> dict[str, Any]:
    if kind == "INT":
        return {"intValue": str(int(value))}
    return {"doubleValue": value} if kind == "DOUBLE" else {"stringValue": value}


def title_of(schema: dict[str, str]) -> str:
    if "schemaTitle" in schema:
        return schema["schemaTitle"]
    return re.search(r"^title: (\S+)$", schema["instanceSchema"], re.MULTILINE)[1]


def refuse_unknown(what: str, given: dict[str, Any], known: set[str]) -> None:
    if unknown := given.keys() - known:
        raise ValueError(f"{what} has what this executor does not know: {sorted(unknown)}")
