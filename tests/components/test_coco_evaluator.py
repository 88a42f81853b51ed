"""The executor with TFX's artifacts, on a tiny untrained model."""

import json
from pathlib import Path

import pytest
import tensorflow as tf
from google.api_core.exceptions import Forbidden
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.orchestration.kubeflow.v2.container.kubeflow_v2_entrypoint_utils import (
    translate_executor_output,
)
from tfx.types import standard_artifacts

from components import coco_evaluator
from components.coco_evaluator import Executor
from configs import base
from pix2seq_model.errors import ConfigError, DataError, UserError
from pix2seq_model.model_folder.folder import read_model_info
from tests.fixtures.evaluated_model import MAX_OBJECTS, write_examples, write_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Examples, a model, and a place for finished evaluations."""
    folder = tmp_path_factory.mktemp("evaluator")
    return (
        write_examples(folder / "examples"),
        write_model(folder / "model", finds_objects=True),
        folder / "cache",
    )


def artifact(kind, uri, number=0):
    made = kind()
    made.uri, made.id = str(uri), number
    return made


def evaluate(
    folders,
    output: Path,
    *,
    baseline=None,
    overrides="",
    accelerators="",
    given="",
    evaluation=None,
    **settings,
):
    """Runs the executor; returns the blessing artifact."""
    examples, model, cache = folders
    section = base.get_config().evaluation.to_dict()
    section.update(max_objects=MAX_OBJECTS, batch_size=2)
    section.update(settings)
    blessing = artifact(standard_artifacts.ModelBlessing, output / "blessing")
    evaluation = evaluation or artifact(standard_artifacts.ModelEvaluation, output / "evaluation")
    context = BaseBeamExecutor.Context(beam_pipeline_args=["--runner=FnApiRunner"])
    Executor(context).Do(
        {
            "examples": [artifact(standard_artifacts.Examples, examples)],
            "model": [artifact(standard_artifacts.Model, model, 7)],
            "baseline_model": [baseline] if baseline else [],
        },
        {
            "evaluation": [evaluation],
            "blessing": [blessing],
        },
        {
            "settings": json.dumps(section),
            "overrides": overrides,
            "cache_dir": str(cache),
            "fingerprint": "",
            "code_version": "1",
            "accelerators": accelerators,
            "baseline_of": "pix2seq-tiny-1a2b",
            "truth_of": "data.finetune.annotations.val",
            "given": given,
        },
    )
    return blessing


def test_metrics_are_properties_as_vertex_ai_gets_them(folders, tmp_path):
    evaluation = artifact(standard_artifacts.ModelEvaluation, tmp_path / "evaluation")
    evaluate(folders, tmp_path, evaluation=evaluation)
    (told,) = translate_executor_output({"evaluation": [evaluation]}, {})["evaluation"].artifacts
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert told.metadata["AP"] == metrics["AP"]
    assert told.metadata["num_images"] == 5
    assert all(value >= 0 for value in told.metadata.values())


def reasons(blessing) -> str:
    return " ".join(json.loads((Path(blessing.uri) / "decision.json").read_text())["reasons"])


def test_a_blessing_as_tfx_writes_it(folders, tmp_path):
    blessing = evaluate(folders, tmp_path)
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_int_custom_property("current_model_id") == 7
    assert blessing.get_string_custom_property("current_model") == str(folders[1])
    assert blessing.get_string_custom_property("baseline_of") == "pix2seq-tiny-1a2b"
    assert (tmp_path / "blessing" / "BLESSED").exists()
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert metrics["num_images"] == 5
    assert not (tmp_path / "evaluation" / "report.html").exists()


@pytest.mark.parametrize(
    "wanted",
    [{"min_metrics": {"AR100": 0.999}}, {"overrides": " evaluation.min_metrics.AR100=0.999 "}],
    ids=["config", "submission"],
)
def test_below_a_threshold(wanted, folders, tmp_path):
    blessing = evaluate(folders, tmp_path, **wanted)
    assert blessing.get_int_custom_property("blessed") == 0
    assert (tmp_path / "blessing" / "NOT_BLESSED").exists()
    assert not (tmp_path / "blessing" / "BLESSED").exists()
    assert "below the least value 0.9990" in reasons(blessing)


def test_the_truth_is_the_annotation_file_that_a_submission_names(folders, tmp_path):
    given = "data.finetune.annotations.val=/none/submitted.json"
    chosen = "evaluation.ground_truth=/none/chosen.json"
    for place, wanted in {
        "config": {},
        "submitted": {"given": given},
        "chosen": {"given": given, "overrides": chosen},
    }.items():
        with pytest.raises(UserError, match=f"/none/{place}\\.json"):
            evaluate(folders, tmp_path, ground_truth="/none/config.json", **wanted)


def test_without_the_gpu_that_it_was_promised_nothing_is_decoded(folders, tmp_path):
    with pytest.raises(ConfigError, match=r"accelerator_count=1 .* sees 0: the processor alone"):
        evaluate(folders, tmp_path, accelerators="1")
    assert not (tmp_path / "evaluation").exists()


def test_compared_with_itself_it_is_not_decoded_again(folders, tmp_path, monkeypatch):
    evaluate(folders, tmp_path / "first")
    monkeypatch.setattr(coco_evaluator, "evaluate_model", None)
    baseline = artifact(standard_artifacts.Model, folders[1], 7)
    blessing = evaluate(folders, tmp_path / "second", baseline=baseline)
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_int_custom_property("baseline_model_id") == 7
    assert "of the blessed model" in reasons(blessing)


def test_a_baseline_that_is_gone_is_said(folders, tmp_path):
    baseline = artifact(standard_artifacts.Model, tmp_path / "gone", 3)
    blessing = evaluate(folders, tmp_path, baseline=baseline)
    assert blessing.get_int_custom_property("blessed") == 1
    assert f"not compared with the model blessed before, {tmp_path}/gone" in reasons(blessing)


@pytest.mark.parametrize(
    "refusal",
    [
        tf.errors.PermissionDeniedError(None, None, "HTTP response code 403"),
        Forbidden("storage.objects.get denied"),
        PermissionError(13, "denied"),
    ],
)
def test_a_baseline_that_may_not_be_read_is_no_missing_one(refusal, folders, tmp_path, monkeypatch):
    def read(folder):
        if str(folder) == "gs://theirs/model":
            raise refusal
        return read_model_info(folder)

    monkeypatch.setattr(coco_evaluator, "read_model_info", read)
    baseline = artifact(standard_artifacts.Model, "gs://theirs/model", 3)
    with pytest.raises(DataError, match=r"gs://theirs/model, may not be read: .*objectViewer"):
        evaluate(folders, tmp_path, baseline=baseline)
    assert not (tmp_path / "blessing").exists()


def test_a_baseline_of_other_categories_is_not_compared(folders, tmp_path):
    other = write_model(tmp_path / "model", categories=({"id": 2, "name": "otter"},))
    blessing = evaluate(folders, tmp_path, baseline=artifact(standard_artifacts.Model, other, 3))
    assert "category 2 is 'otter'" in reasons(blessing)


def test_on_beam_the_same_is_found(folders, tmp_path):
    examples, model, cache = folders
    sampling = {"top_p": 1.0, "end_token_offset": -100.0}
    here = evaluate((examples, model, cache), tmp_path / "here", **sampling)
    there = evaluate(
        (examples, model, tmp_path / "cache"), tmp_path / "there", on_beam=True, **sampling
    )
    ours, theirs = (
        json.loads((tmp_path / place / "evaluation" / "detections.json").read_text())
        for place in ("here", "there")
    )
    assert len(ours) == len(theirs) > 5
    for one, other in zip(ours, theirs):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        assert other["bbox"] == pytest.approx(one["bbox"], abs=1e-3)
        assert other["score"] == pytest.approx(one["score"], abs=1e-5)
    assert reasons(here) == reasons(there)
    names = {path.name for path in (tmp_path / "there" / "evaluation").iterdir()}
    assert names == {
        *("attention.json", "attention.npz", "detections.json", "ground_truth.json"),
        "metrics.json",
    }
    assert not list((tmp_path / "cache").glob("*-beam"))
