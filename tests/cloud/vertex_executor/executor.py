"""Runs a compiled job file as Vertex AI Pipelines does, each step as a process of this machine.

It knows the file and nothing else: neither this project nor TFX. What the file asks for and this
executor does not know is refused, never skipped.
"""

import json
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.cloud.vertex_executor.conditions import is_met
from tests.cloud.vertex_executor.job import (
    Ended,
    Run,
    constant,
    fill,
    read_job,
    refuse_unknown,
    title_of,
    upstream,
)
from tests.cloud.vertex_executor.metadata import Artifact, MetadataStore, cache_key

_PROJECT_NUMBER = "123"
_KNOWN_OF_CONTAINERS = {"image", "command", "args", "resources", "env"}


class Files(Protocol):
    """The bucket, as far as the executor looks into it."""

    def content(self, uri: str) -> bytes | None:
        """An object's bytes; None if there is none."""


class Executor:
    """Runs job files, one after another, with a memory between them."""

    def __init__(
        self,
        *,
        files: Files,
        metadata: MetadataStore,
        start: Callable[[list[str], Mapping[str, str], Path], subprocess.Popen],
        logs: Path,
    ) -> None:
        """
        Args:
          files: the bucket.
          metadata: what runs before this one left.
          start: a process, of a command, variables besides the usual ones, and a file for what it
            says.
          logs: folder for those files.
        """
        self._files, self._metadata, self._start, self._logs = files, metadata, start, logs

    def run(
        self,
        job_file: Path,
        *,
        parameters: Mapping[str, Any] | None = None,
        said: Callable[[str, Ended], None] = lambda name, ended: None,
    ) -> dict[str, Ended]:
        """Runs a job.

        Args:
          job_file: compiled.
          parameters: the pipeline's, in place of those in the file, as at a submission.
          said: told of each step's end.

        Returns:
          How each task ended, in the order of running.
        """
        job = read_job(job_file)
        run = Run(job, parameters or {})
        ended: dict[str, Ended] = {}
        for name in run.order():
            ended[name] = self._task(run, name, ended)
            said(name, ended[name])
        return ended

    def _task(self, run: Run, name: str, ended: dict[str, Ended]) -> Ended:
        task = run.tasks[name]
        before = [ended[other].state for other in upstream(task)]
        policy = task.get("triggerPolicy", {})
        completed_is_enough = policy.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
        if not completed_is_enough:
            if any(state in ("FAILED", "NOT_RUN") for state in before):
                return Ended("NOT_RUN")
            if "SKIPPED" in before:
                return Ended("SKIPPED")
        component = run.component(name)
        inputs, names = run.inputs(name, ended)
        told = {**inputs, "parameter_values": inputs["parameterValues"]}
        if (condition := policy.get("condition")) and not is_met(condition, told):
            return Ended("SKIPPED")
        executor = run.executor(component)
        if "importer" in executor:
            return self._import(executor["importer"], component, inputs)
        if "resolver" in executor:
            return self._resolve(executor["resolver"], inputs)
        container = executor["container"]
        refuse_unknown(f"the container of {name}", container, _KNOWN_OF_CONTAINERS)
        definitions = component.get("outputDefinitions", {})
        key = cache_key(run.pipeline, container, {**inputs, "artifacts": names}, definitions)
        if task.get("cachingOptions", {}).get("enableCache"):
            found = self._metadata.finished(key)
            if found is not None:
                return Ended("CACHED", found)
        attempts = 1 + int(task.get("retryPolicy", {}).get("maxRetryCount", 0))
        for attempt in range(1, attempts + 1):
            done = self._process(run, name, container, component, inputs)
            done.attempts = attempt
            if done.state == "SUCCEEDED":
                self._metadata.remember(key, done.outputs)
                break
        return done

    def _process(
        self,
        run: Run,
        name: str,
        container: dict[str, Any],
        component: dict[str, Any],
        inputs: dict[str, Any],
    ) -> Ended:
        root = f"{run.output_root}/{_PROJECT_NUMBER}/{run.name}/{name}_{uuid.uuid4().int % 10**18}"
        definitions = component.get("outputDefinitions", {})
        outputs = {
            key: [self._new_artifact(definition["artifactType"], f"{root}/{key}")]
            for key, definition in definitions.get("artifacts", {}).items()
        }
        executor_input = {
            "inputs": inputs,
            "outputs": {
                "artifacts": {
                    key: {"artifacts": [artifact.runtime() for artifact in found]}
                    for key, found in outputs.items()
                },
                "parameters": {
                    key: {"outputFile": f"{root}/{key}"}
                    for key in definitions.get("parameters", {})
                },
                "outputFile": f"{root}/executor_output.json",
            },
        }
        # Refuses what is no executor input.
        json_format.ParseDict(executor_input, pipeline_spec_pb2.ExecutorInput())
        given = [*container.get("command", []), *container.get("args", [])]
        command = [fill(word, executor_input) for word in given]
        variables = {entry["name"]: entry["value"] for entry in container.get("env", [])}
        log = self._logs / f"{name}-{uuid.uuid4().hex[:6]}.log"
        if self._start(command, variables, log).wait():
            return Ended("FAILED", command=command)
        written = self._files.content(executor_input["outputs"]["outputFile"])
        said = json.loads(written) if written is not None else {}
        for key, found in outputs.items():
            for artifact, told in zip(
                found, said.get("artifacts", {}).get(key, {}).get("artifacts", [])
            ):
                artifact.uri = told.get("uri", artifact.uri)
                artifact.metadata.update(told.get("metadata", {}))
            for artifact in found:
                self._metadata.add(artifact)
        return Ended("SUCCEEDED", outputs, said.get("parameterValues", {}), command)

    def _new_artifact(self, schema: dict[str, str], uri: str) -> Artifact:
        name = f"{self._metadata.new_name()}-{uuid.uuid4().hex[:8]}"
        return Artifact(name, title_of(schema), schema, uri)

    def _import(
        self, importer: dict[str, Any], component: dict[str, Any], inputs: dict[str, Any]
    ) -> Ended:
        uri = constant(importer["artifactUri"], inputs)
        metadata = dict(importer.get("metadata", {}))
        for kind in ("properties", "customProperties"):
            for key, value in importer.get(kind, {}).items():
                metadata[key] = constant(value, inputs)
        (key,) = component["outputDefinitions"]["artifacts"]
        known = self._metadata.same(title_of(importer["typeSchema"]), uri, metadata)
        if known is not None and not importer.get("reimport"):
            return Ended("SUCCEEDED", {key: [known]})
        artifact = self._new_artifact(importer["typeSchema"], uri)
        artifact.metadata = metadata
        self._metadata.add(artifact)
        return Ended("SUCCEEDED", {key: [artifact]})

    def _resolve(self, resolver: dict[str, Any], inputs: dict[str, Any]) -> Ended:
        outputs = {}
        for key, query in resolver["outputArtifactQueries"].items():
            try:
                found = self._metadata.latest(fill(query["filter"], {"inputs": inputs}))
            except IndexError:  # What it looks for hangs on an artifact that there is not.
                found = None
            outputs[key] = [found] if found else []
        return Ended("SUCCEEDED", outputs)
