"""The Dockerfile's steps carried out in a bare Debian, and the demonstration run inside.

`make test-image`; needs root, debootstrap and Go, and 15 GB under build/.
"""

import json
import re
import shutil
from pathlib import Path

import pytest

from pipelines import image_identity
from tests.cloud.image.bases import NotHere
from tests.cloud.image.build import PROJECT, build

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(3600)]

OUTPUT = PROJECT / "build" / "image"
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
HOME = "/home/pix2seq"
# A demonstration of minutes: all stages, few images and steps; what it learns does not matter.
SHORT = (
    *("--config.pretrain.steps=20", "--config.finetune.steps=20"),
    *("--config.pretrain.warmup_steps=5", "--config.finetune.warmup_steps=5"),
    *("--config.pretrain.steps_per_log=10", "--config.finetune.steps_per_log=10"),
    "--config.evaluation.min_metrics.AP=0.0",
)
IMAGES = (
    *("--objects365_train=64", "--objects365_val=8"),
    *("--coco_train=64", "--coco_val=16"),
)


def built(text):
    try:
        return build(text, OUTPUT, build_args=image_identity.build_arguments())
    except NotHere as error:
        pytest.skip(f"the image cannot be made here: {error}")


@pytest.fixture(scope="module")
def image():
    return built(DOCKERFILE)


def python(image, changes, code):
    done = image.run("python", "-c", code, changes=changes)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def pinned(*names):
    lines = [
        line
        for name in names
        for line in (PROJECT / "requirements" / f"{name}.txt").read_text().splitlines()
    ]
    rows = [re.match(r"([\w.-]+)==([^\s;]+)", line) for line in lines]
    return {re.sub(r"[-_.]+", "-", row[1]).lower(): row[2] for row in rows if row}


def test_it_holds_the_pinned_packages_and_no_others(image, tmp_path):
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
    )
    found = json.loads(python(image, tmp_path, code))
    found = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found.items()}
    ours = {n: v for n, v in found.items() if n not in ("pip", "setuptools")}
    wanted = {n: v for n, v in pinned("runtime", "jax").items() if n not in ("pip", "setuptools")}
    assert ours == wanted


def test_it_lists_them(image):
    """For whoever looks for known faults."""
    listed = json.loads((image.root / "opt/venv/sbom.cdx.json").read_text())
    assert listed["bomFormat"] == "CycloneDX"
    found = {re.sub(r"[-_.]+", "-", c["name"]).lower(): c["version"] for c in listed["components"]}
    assert found == pinned("runtime", "jax")


def test_it_says_what_it_was_built_from(image):
    assert image.labels == {
        image_identity.REQUIREMENTS_LABEL: image_identity.requirements_digest(),
        image_identity.CODE_LABEL: image_identity.code_digest(),
    }


def test_the_code_in_it_is_that_which_its_label_names(image, tmp_path):
    code = "from pipelines.image_identity import *; print(code_digest(), requirements_digest())"
    assert python(image, tmp_path, code).split() == [
        image_identity.code_digest(),
        image_identity.requirements_digest(),
    ]


def test_nothing_of_the_builder_is_in_it(image):
    code = image.root / "opt" / "pix2seq"
    assert {path.name for path in code.iterdir()} == {
        *("components", "configs", "pipelines", "pix2seq_model", "requirements")
    }
    assert not [path for path in code.rglob("*") if path.name.startswith(".")]
    for place in ("root/.config", "root/.netrc", "root/.pip", "root/.docker", "root/.cache"):
        assert not (image.root / place).exists()
    assert not [name for name in image.env if re.search("TOKEN|SECRET|CREDENTIAL|KEY", name)]


def test_a_step_starts(image, tmp_path):
    """Vertex AI names the whole command."""
    program = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
    done = image.run("python", "-m", program, "--help", changes=tmp_path)
    assert "--executor_class_path" in done.stdout
    executors = (
        *("example_gen.Executor", "trainer.Executor", "custom_job_trainer.Executor"),
        *("coco_evaluator.Executor", "model_pusher.ModelPusher_Executor"),
        *("data_report.DataReport_Executor", "evaluation_report.EvaluationReport_Executor"),
    )
    loads = ";".join(f"from components.{name.replace('.', ' import ')}" for name in executors)
    python(image, tmp_path, loads)


def test_a_training_job_starts(image, tmp_path):
    done = image.run("python", "-m", "tfx.scripts.run_executor", "--help", changes=tmp_path)
    assert "--executor_class_path" in done.stdout + done.stderr


def test_a_dataflow_worker_starts(image, tmp_path):
    """Dataflow gives options alone; Beam's program then asks for its work."""
    done = image.run("--id=1-1", "--provision_endpoint=localhost:1", changes=tmp_path)
    assert done.returncode != 0
    assert "Failed to obtain provisioning information" in done.stdout + done.stderr


def demonstration(image, changes):
    """Runs both commands of `make demo`, shortened, as the user who is not root."""
    as_user = {"changes": changes, "user": "pix2seq", "workdir": HOME}
    commands = (
        ("/opt/pix2seq/pipelines/generate_demo_data.py", "--output=demo/data", *IMAGES),
        (
            *("/opt/pix2seq/pipelines/run_pipeline.py", "--config=configs/demo.py"),
            *("--pipeline_root=demo/pipeline", *SHORT),
        ),
    )
    for command in commands:
        done = image.run("python", *command, **as_user)
        if done.returncode:
            return done, None
    root = Path(changes) / "layer" / HOME.lstrip("/") / "demo" / "pipeline"
    return done, root


def test_the_demonstration_runs_in_it(image, tmp_path):
    done, root = demonstration(image, tmp_path)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    summary = json.loads((root / "summary.json").read_text())
    assert set(summary["evaluation"]["metrics"]) >= {"AP", "AR100"}
    assert summary["blessing"]["blessed"]
    (version,) = (p for p in (root / "serving_model").iterdir() if p.name.isdigit())
    assert (version / "saved_model.pb").exists()
    assert (root / "report.html").stat().st_size > 10_000
    print("summary:", json.dumps(summary["evaluation"]["metrics"]))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("COPY components/ components/\n", "No module named 'components'"),
        # The base image has a Python of its own, which then runs and finds nothing.
        ("COPY --from=packages /opt/venv /opt/venv\n", "the package absl is not installed"),
    ],
)
def test_a_dockerfile_without_a_line_fails(line, complaint, tmp_path):
    """The proof can fail: each of these lines is needed."""
    assert line in DOCKERFILE
    # Without the line, and without the compilation that would already fail for it.
    text = DOCKERFILE.replace(line, "").replace(
        "RUN python -m compileall -q pix2seq_model components configs pipelines\n", ""
    )
    broken = built(text)
    try:
        done, root = demonstration(broken, tmp_path)
        assert root is None
        assert complaint in done.stdout + done.stderr
    finally:
        shutil.rmtree(broken.root)
