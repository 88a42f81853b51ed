"""Imports a published checkpoint as a Model artifact, to be the base model of fine-tuning."""

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Model

from pix2seq_model.published.import_checkpoint import import_checkpoint


@component
def CheckpointImporter(  # noqa: N802
    model: OutputArtifact[Model],
    checkpoint: Parameter[str],
    fingerprint: Parameter[str],
    code_version: Parameter[str],
) -> None:
    """Writes the model folder of a checkpoint, local or gs://; every weight must be used.

    Args:
      model: model folder.
      checkpoint: folder or prefix of the checkpoint's files.
      fingerprint: of the checkpoint's files: the import runs again when it changes.
      code_version: of the code, which makes the import run again when it changes.
    """
    loaded = import_checkpoint(checkpoint, model.uri)
    model.set_string_custom_property("checkpoint", loaded.prefix)
