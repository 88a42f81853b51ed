"""Runs the pipeline in this process, stage after stage, and tells what happens.

TFX's LocalDagRunner does the same but reports no stages, times or cache hits, and has no way to
refuse a stage; its parts (the compiler, the launcher, the executor operators) do the work
here too.
"""

import contextlib
import dataclasses
import logging
import os
import shutil
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from tfx import types
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import execution_lib

from components.example_gen import give_back
from pipelines.local.metadata_file import check_metadata_file
from pipelines.local.stage_errors import StageError, find_user_error, unwritten_metadata
from pix2seq_model.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeRun:
    """The result of one node.

    Attributes:
      node_id: as in the pipeline.
      seconds: it took, looking up the cache included.
      cached: whether an earlier run's outputs were taken.
      outputs: the artifact by output name.
    """

    node_id: str
    seconds: float
    cached: bool
    outputs: dict[str, types.Artifact]


def run_locally(
    pipeline: Pipeline,
    *,
    selected: Collection[str],
    on_start: Callable[[str], None],
    on_cached: Callable[[str], None],
) -> list[NodeRun]:
    """Runs the nodes of a pipeline in order.

    Args:
      pipeline: with a metadata connection.
      selected: ids of the nodes that may run; the others must come from the cache.
      on_start: called with a node's id when it really runs, not when the cache serves it.
      on_cached: called with the id of a node that the cache served.

    Returns:
      The finished nodes in order, without those that only look something up.

    Raises:
      UserError: what a user can fix, unwrapped from the errors of TFX and Beam.
      StageError: anything else that stopped a stage.
    """
    compiled = compiler.Compiler().compile(pipeline)
    run_id = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.now().isoformat()}
    runtime_parameter_utils.substitute_runtime_parameter(compiled, run_id)
    deployment = runner_utils.extract_local_deployment_config(compiled)
    connection = deployment.metadata_connection_config
    store = getattr(connection, connection.WhichOneof("connection_config"))
    file = getattr(store.sqlite, "filename_uri", "")
    if file:
        check_metadata_file(file)
    runs = []
    for node in (element.pipeline_node for element in compiled.nodes):
        node_id = node.node_info.id
        watch = _Watch(node_id, allowed=node_id in selected, on_start=on_start)
        started = time.monotonic()
        execution = _launch(
            launcher.Launcher(
                pipeline_node=node,
                mlmd_connection=metadata.Metadata(store),
                pipeline_info=compiled.pipeline_info,
                pipeline_runtime_spec=compiled.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
                custom_executor_operators=watch.operators(),
            ),
            watch,
            store,
            file,
        )
        if node_id not in deployment.executor_specs:
            continue
        cached = watch.execution is None
        if cached:
            on_cached(node_id)
        with metadata.Metadata(store) as handle:
            found = execution_lib.get_output_artifacts(handle, execution.execution_id)
        outputs = {key: artifacts[0] for key, artifacts in found.items() if artifacts}
        seconds = time.monotonic() - started
        runs.append(NodeRun(node_id=node_id, seconds=seconds, cached=cached, outputs=outputs))
    return runs


class _Watch:
    """Notices whether a node's executor runs, and refuses those that may not."""

    def __init__(self, node_id: str, *, allowed: bool, on_start: Callable[[str], None]) -> None:
        self.node_id = node_id
        self.execution: Any = None
        self._allowed, self._on_start = allowed, on_start

    def operators(self) -> dict[Any, Any]:
        """TFX's own executor operators, watched."""
        operators = launcher.DEFAULT_EXECUTOR_OPERATORS
        return {spec: self._watched(operator) for spec, operator in operators.items()}

    def _watched(self, operator: type) -> type:
        watch = self

        class Watched(operator):
            def run_executor(self, execution_info, *arguments, **named):
                if not watch._allowed:
                    raise ConfigError(
                        f"--stages leaves out {watch.node_id}, whose output is needed, and no "
                        "earlier run with these data and settings is in the cache: name its "
                        "stage too."
                    )
                watch.execution = execution_info
                watch._on_start(watch.node_id)
                return super().run_executor(execution_info, *arguments, **named)

        return Watched


def _launch(node_launcher: launcher.Launcher, watch: _Watch, store: Any, metadata_file: str) -> Any:
    try:
        return node_launcher.launch()
    except KeyboardInterrupt:
        _clear(watch.execution, store)
        raise
    except Exception as error:
        logging.getLogger(__name__).exception("%s failed", watch.node_id)
        _clear(watch.execution, store)
        raise (
            find_user_error(error)
            or unwritten_metadata(error, metadata_file)
            or StageError(watch.node_id, error)
        ) from error


def _clear(execution: Any, store: Any) -> None:
    """Removes outputs that no metadata know of: nobody would read them, nor remove them.

    TFX removes what a failed execution wrote, but not what an interrupted one wrote, nor that of
    one that succeeded and could not be noted.
    """
    if execution is None or _is_noted(execution, store):
        return
    give_back(execution.output_dict, execution.exec_properties)
    for artifacts in execution.output_dict.values():
        for artifact in artifacts:
            if artifact.is_external:  # What TFX did not make is not its own.
                continue
            with contextlib.suppress(OSError):  # It may be gone already.
                if os.path.isdir(artifact.uri):
                    shutil.rmtree(artifact.uri)
                else:
                    os.remove(artifact.uri)  # A value.


def _is_noted(execution: Any, store: Any) -> bool:
    """Whether the metadata say that an execution is complete, or do not answer."""
    try:
        with metadata.Metadata(store) as handle:
            (found,) = handle.store.get_executions_by_id([execution.execution_id])
    except Exception:  # Of MLMD's own kinds. What may be noted is not removed.
        return True
    return execution_lib.is_execution_successful(found)
