"""Imports a published checkpoint as a Model artifact, to be the base model of fine-tuning."""

from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from pix2seq_model.published.import_checkpoint import import_checkpoint


class CheckpointImporterSpec(component_spec.ComponentSpec):
    """Output and settings of `CheckpointImporter`."""

    PARAMETERS: ClassVar = {
        "checkpoint": component_spec.ExecutionParameter(type=str),
        "categories": component_spec.ExecutionParameter(type=str),
        "fingerprint": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {}
    OUTPUTS: ClassVar = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class Executor(base_executor.BaseExecutor):
    """Writes the model folder; every weight must be accounted for."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        model = artifact_utils.get_single_instance(output_dict["model"])
        loaded = import_checkpoint(
            exec_properties["checkpoint"],
            model.uri,
            categories=exec_properties["categories"],
        )
        model.set_string_custom_property("checkpoint", loaded.prefix)


class CheckpointImporter(base_component.BaseComponent):
    """Imports the checkpoint at a place, local or gs://."""

    SPEC_CLASS = CheckpointImporterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, *, checkpoint: str, fingerprint: str, code_version: str, categories: str = ""
    ) -> None:
        """
        Args:
          checkpoint: folder or prefix of the checkpoint's files.
          fingerprint: of the checkpoint's files: the import runs again when it changes.
          code_version: of the code, which makes the import run again when it changes.
          categories: see `pix2seq_model.published.import_checkpoint.import_checkpoint`.
        """
        super().__init__(
            spec=CheckpointImporterSpec(
                checkpoint=checkpoint,
                categories=categories,
                fingerprint=fingerprint,
                code_version=code_version,
                model=types.Channel(type=standard_artifacts.Model),
            )
        )
