"""Writes the data report on an examples folder, as a separate stage."""

from etils import epath
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, ExampleStatistics

from pix2seq_model.reports.data_report import FILE_NAME, write_data_report


@component
def DataReport(  # noqa: N802
    examples: InputArtifact[Examples],
    report: OutputArtifact[ExampleStatistics],
    code_version: Parameter[str],
) -> None:
    """Writes `data_report.html`.

    Args:
      examples: examples folder.
      report: folder of the page.
      code_version: makes the stage run again when it changes.
    """
    write_data_report(examples.uri, epath.Path(report.uri) / FILE_NAME)
    report.split_names = examples.split_names
