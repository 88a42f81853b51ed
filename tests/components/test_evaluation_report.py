"""The stage that writes the evaluation's report, with TFX's artifacts."""

import json

import pytest
from tfx.types import standard_artifacts

from components.evaluation_report import EvaluationReport
from pix2seq_model.errors import ConfigError
from pix2seq_model.evaluation.evaluate import evaluate_model
from pix2seq_model.evaluation.settings import EvaluationSettings
from tests.fixtures.evaluated_model import MAX_OBJECTS, write_examples, write_model


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    examples, model = write_examples(folder / "examples"), write_model(folder / "model")
    settings = EvaluationSettings(max_objects=MAX_OBJECTS, batch_size=2)
    evaluate_model(
        model, examples, split="val", settings=settings, output_dir=folder / "evaluation"
    )
    found = {
        "evaluation": standard_artifacts.ModelEvaluation(),
        "examples": standard_artifacts.Examples(),
        "model": standard_artifacts.Model(),
    }
    for name, artifact in found.items():
        artifact.uri = str(folder / name)
    return found


def report(artifacts, folder, *, num_pictures, overrides=""):
    page = standard_artifacts.ModelEvaluation()
    page.uri = str(folder)
    EvaluationReport.test_call(
        **artifacts,
        report=page,
        settings=json.dumps({"num_pictures": num_pictures}),
        code_version="1",
        overrides=overrides,
    )
    (path,) = folder.iterdir()
    assert path.name == "report.html"
    return path.read_text()


def test_the_settings_decide_how_many_pictures_it_has(artifacts, tmp_path):
    none = report(artifacts, tmp_path / "none", num_pictures=0)
    some = report(artifacts, tmp_path / "some", num_pictures=3)
    assert (none.count("data:image"), some.count("data:image") > 3) == (0, True)


def test_a_submission_may_change_them(artifacts, tmp_path):
    overrides = "evaluation.num_pictures=0 evaluation.min_metrics.AP=0.3"
    page = report(artifacts, tmp_path / "page", num_pictures=3, overrides=overrides)
    assert "data:image" not in page
    with pytest.raises(ConfigError, match="num_pictures='many'"):
        report(artifacts, tmp_path / "no", num_pictures=3, overrides="evaluation.num_pictures=many")
