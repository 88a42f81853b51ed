"""Evaluates a model by the COCO rules and decides whether it is blessed.

The executor is a subclass of TFX's Evaluator executor and its output is named `blessing`: on
Vertex AI that alone makes TFX write the blessing in the form in which its resolver of the latest
blessed model can find it.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import apache_beam as beam
from etils import epath
from google.api_core.exceptions import Forbidden
from tfx import types
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as evaluator_executor
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact_utils, component_spec
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing, ModelEvaluation
from tfx.utils import io_utils

from components.beam_executor import BeamArguments
from components.blessing import DECISION_FILE, Decision, decide, measured
from components.data_places import given_place
from components.prediction.detect_on_beam import detect_on_beam
from components.remembered_failure import note_of, remembered
from components.specs import Artifacts, MadeBySpec, channels, parameters, setting_of
from pix2seq_model.atomic_write import write_atomically, write_json
from pix2seq_model.data.ground_truth import SplitTruth
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.errors import DataError, UserError
from pix2seq_model.evaluation.evaluate import evaluate_model
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.experiment.loading import override_section
from pix2seq_model.experiment.validation import evaluation_settings
from pix2seq_model.metrics.coco_files import METRICS_FILE, read_metrics
from pix2seq_model.model_folder.folder import read_model_info

# Settings of the config's `evaluation` section that the report alone reads.
REPORT_SETTINGS = ("num_pictures",)
# The property of a blessing that says for which pipeline and data it counts. Vertex AI has one
# store of artifacts for a project: without it the baseline would be anybody's latest blessed model.
BASELINE_OF = "baseline_of"


class CocoEvaluatorSpec(component_spec.ComponentSpec):
    """Inputs, outputs and settings of `CocoEvaluator`."""

    PARAMETERS = parameters(
        settings=str,
        overrides=str,
        cache_dir=str,
        fingerprint=str,
        code_version=str,
        accelerators=str,
        baseline_of=str,
        truth_of=str,
        given=str,
    )
    INPUTS = channels(examples=Examples, model=Model) | channels(
        optional=True, baseline_model=Model
    )
    OUTPUTS = channels(evaluation=ModelEvaluation, blessing=ModelBlessing)


class Executor(BeamArguments, evaluator_executor.Executor):
    """Evaluates the model, and on the same images the model that was blessed before."""

    def Do(  # noqa: N802
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        model = artifact_utils.get_single_instance(input_dict["model"])
        overrides = exec_properties["overrides"].split()
        # What the report alone reads is the same here whatever the config says.
        fixed = {name: getattr(EvaluationSettings, name) for name in REPORT_SETTINGS}
        section = json.loads(exec_properties["settings"]) | fixed
        # The truth stays the annotation file of the split if a submission names another one.
        if setting := exec_properties.get("truth_of"):
            place = given_place(setting, exec_properties["given"])
            section["ground_truth"] = place or section["ground_truth"]
        settings = override_section(
            section,
            "evaluation",
            [o for o in overrides if setting_of(o) not in REPORT_SETTINGS],
        )
        evaluation_settings(settings)  # Refuses what cannot work before anything is decoded.
        finished = _Evaluations(
            examples_dir=artifact_utils.get_single_uri(input_dict["examples"]),
            section=settings,
            cache_dir=epath.Path(exec_properties["cache_dir"]),
            fingerprint=exec_properties["fingerprint"],
            code_version=exec_properties["code_version"],
            make_pipeline=self._make_beam_pipeline,
        )
        baseline = next(iter(input_dict.get("baseline_model") or []), None)
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        with remembered(note_of(self._context, evaluation.uri)):
            if exec_properties.get("accelerators") and not settings["on_beam"]:
                _check_accelerators(int(exec_properties["accelerators"]))
            folder = finished.folder_of(model.uri)
            metrics = read_metrics(folder)
            decision = finished.decision(metrics, baseline)

        io_utils.copy_dir(os.fspath(folder), evaluation.uri)
        for name, value in measured(metrics).items():  # What Vertex AI shows of it.
            evaluation.set_float_custom_property(name, value)
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        _write_blessing(blessing, decision, model=model, baseline=baseline)
        # What the next run of this pipeline finds its baseline by.
        blessing.set_string_custom_property(BASELINE_OF, exec_properties["baseline_of"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Evaluations:
    """Evaluation folders, kept by what decides their content.

    Once a model is blessed it is the one to compare with, and TFX runs the evaluation again:
    nothing is decoded twice then.
    """

    examples_dir: str
    section: dict[str, Any]
    cache_dir: epath.Path
    fingerprint: str
    code_version: str
    make_pipeline: Callable[[], beam.Pipeline]

    def folder_of(self, model_dir: str) -> epath.Path:
        """The finished evaluation folder of a model."""
        settings = EvaluationSettings.from_config(self.section)
        parts = (
            repr(read_model_info(model_dir)),  # The digest of the weights is part of it.
            read_dataset_info(self.examples_dir).fingerprint(),
            settings.split,
            repr(settings),
            self.fingerprint,
            self.code_version,
        )
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        folder = self.cache_dir / key
        if not (folder / METRICS_FILE).exists():
            # Next to it: all that is in the folder becomes the artifact.
            beam_dir = self.cache_dir / f"{key}-beam"

            def detect(truth: SplitTruth) -> Any:
                return detect_on_beam(
                    model_dir,
                    self.examples_dir,
                    settings=settings,
                    truth=truth,
                    work_dir=os.fspath(beam_dir),
                    make_pipeline=self.make_pipeline,
                )

            evaluate_model(
                model_dir,
                self.examples_dir,
                split=settings.split,
                settings=settings,
                output_dir=folder,
                detect=detect if self.section["on_beam"] else None,
            )
            if beam_dir.exists():
                beam_dir.rmtree()
        return folder

    def decision(self, metrics: dict[str, Any], baseline: types.Artifact | None) -> Decision:
        """Compares metrics with the thresholds, and with those of the model blessed before."""
        wanted = {name: self.section[name] for name in ("min_metrics", "max_regression")}
        before = None
        if baseline is not None:
            try:
                before = read_metrics(self.folder_of(baseline.uri))
            except Exception as error:
                if _is_refused(error):
                    # Not "not compared": a worse model would be blessed because it has no role.
                    raise DataError(
                        f"the model blessed before, {baseline.uri}, may not be read: {error}. Give "
                        "the account that this step runs as roles/storage.objectViewer on that "
                        "bucket. If nothing is to be compared with it any more, delete its "
                        "blessing under Vertex AI, Metadata."
                    ) from error
                if not isinstance(error, UserError):
                    raise
                wanted["not_compared"] = (
                    f"not compared with the model blessed before, {baseline.uri}: {error}"
                )
        return decide(metrics, blessed_metrics=before, **wanted)


def _check_accelerators(expected: int) -> None:
    # Imports Keras, which takes seconds.
    from pix2seq_model.accelerators import check_accelerators, leave_to_backend

    leave_to_backend()
    check_accelerators(expected)


def _is_refused(error: BaseException) -> bool:
    """Whether a permission is missing; each client of a bucket has an error of its own for that."""
    import tensorflow as tf

    refusals = (PermissionError, Forbidden, tf.errors.PermissionDeniedError)
    while not isinstance(error, refusals):
        if error.__cause__ is None:
            return False
        error = error.__cause__
    return True


def _write_blessing(
    blessing: types.Artifact,
    decision: Decision,
    *,
    model: types.Artifact,
    baseline: types.Artifact | None,
) -> None:
    """Writes the decision as TFX's Evaluator does, and with its reasons."""
    folder = epath.Path(blessing.uri)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DECISION_FILE, decision.to_json(), indent=1)
    name, value = constants.NOT_BLESSED_FILE_NAME, constants.NOT_BLESSED_VALUE
    if decision.blessed:
        name, value = constants.BLESSED_FILE_NAME, constants.BLESSED_VALUE
    write_atomically(folder / name, "")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
    for name, artifact in (("current_model", model), ("baseline_model", baseline)):
        if artifact is not None:
            blessing.set_string_custom_property(name, artifact.uri)
            blessing.set_int_custom_property(f"{name}_id", artifact.id)


class CocoEvaluator(MadeBySpec, base_beam_component.BaseBeamComponent):
    """Evaluates `model` on a split of `examples`; compares it with `baseline_model` if any.

    Args:
      examples: examples folder.
      model: model folder.
      baseline_model: the latest blessed model's folder; None compares with nothing.
      settings: the config's `evaluation` section, without `REPORT_SETTINGS`.
      cache_dir: where finished and unfinished evaluations are kept.
      fingerprint: of the annotation file that is the truth, if one is.
      code_version: makes the stage run again when it changes.
      overrides: like "evaluation.top_k=1", between blanks; change `settings`.
      baseline_of: pipeline and data that a blessing counts for.
      truth_of: the setting of the data that the annotation file of the truth is, if it is one.
      given: places of the data that a submission names.
      accelerators: GPUs that the step's machine must have; empty: whatever there is.
    """

    SPEC_CLASS = CocoEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
