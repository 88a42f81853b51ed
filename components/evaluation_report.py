"""Writes the report on an evaluation, as a separate stage: nothing is decoded for it."""

import json

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, Model, ModelEvaluation

from components.specs import setting_of
from pix2seq_model.experiment.loading import override_section
from pix2seq_model.reports.evaluation_report import write_evaluation_report


@component
def EvaluationReport(  # noqa: N802
    evaluation: InputArtifact[ModelEvaluation],
    examples: InputArtifact[Examples],
    model: InputArtifact[Model],
    report: OutputArtifact[ModelEvaluation],
    settings: Parameter[str],
    code_version: Parameter[str],
    overrides: Parameter[str] = "",
) -> None:
    """Writes `report.html`.

    Args:
      evaluation: evaluation folder.
      examples: examples folder, for the pictures.
      model: model folder, for its history.
      report: folder of the page.
      settings: JSON of the settings of the config's `evaluation` section that the report reads.
      code_version: makes the stage run again when it changes.
      overrides: like "evaluation.num_pictures=6", between blanks; others are the evaluator's.
    """
    known = json.loads(settings)
    given = [override for override in overrides.split() if setting_of(override) in known]
    write_evaluation_report(
        evaluation.uri,
        examples_dir=examples.uri,
        model_dir=model.uri,
        output_dir=report.uri,
        **override_section(known, "evaluation", given),
    )
