"""The compiled job, run step by step as Vertex AI runs it, gives what the local run gives.

Each step is a process that holds what the image would hold, with the command of the job file and
`gs://` folders; a training is a custom job that TFX asks for by gRPC. `make test-cloud`.
"""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pix2seq_model.synthetic import dataset as demo_data
from tests.cloud.object_store.faults import Fault, FaultPlan, Faults
from tests.cloud.varying import MADE
from tests.cloud.vertex_executor.vertex import PROJECT_ROOT, Vertex, variables_of, vertex
from tests.fixtures import tiny_config, tiny_pipeline

pytestmark = pytest.mark.cloud

TINY = (
    inspect.getsource(tiny_config) + "\n\ndef get_config(data):\n    return pipeline_config(data)\n"
)
DEMO = (PROJECT_ROOT / "configs" / "demo.py").read_text()
STEPS = {
    "PretrainDataVersion",
    "FinetuneDataVersion",
    "PretrainExamples",
    "FinetuneExamples",
    "Pretrain",
    "Finetune",
    "LatestBlessedModel-model-blessing-resolver",
    "LatestBlessedModel-model-resolver",
    "CocoEvaluator",
    "ModelPusher",
    *("PretrainDataReport", "FinetuneDataReport", "EvaluationReport"),
}


def run_locally(image: Path, root: Path, config: str) -> dict[str, bytes]:
    """The same code's local run; what compares of its files, by the step's output and name."""
    command = [sys.executable, "pipelines/run_pipeline.py"]
    subprocess.run(
        [*command, f"--config={config}", f"--pipeline_root={root}"],
        cwd=image,
        # As the steps in the image: without what makes other tests compile faster, and round.
        env=variables_of(image, {}),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    # <step>/<output>/<number of the execution>/...
    return comparable(files, r"^(?P<step>\w+)/(?P<output>\w+)/\d+/(?P<name>.*)$")


def in_the_bucket(run: Vertex, root: str) -> dict[str, bytes]:
    # 123/<job>/<step>_<number>/<output>/...
    pattern = r"^123/[^/]+/(?P<step>\w+)_\d+/(?P<output>\w+)/(?P<name>.*)$"
    # The records stay where they were made: conversion/<stage>-<what decides them>-<data>/...
    made = re.compile(r"^conversion/(pretrain|finetune)-[0-9a-f]{16}-[0-9a-f]{16}/")
    files = {
        made.sub(lambda m: f"123/run/{m[1].capitalize()}Examples_1/examples/", name): content
        for name, content in run.bucket.files(f"{root}/").items()
    }
    return comparable(files, pattern)


def comparable(files: dict[str, bytes], pattern: str) -> dict[str, bytes]:
    """The records, weights, detections and metrics."""
    kept = re.compile(
        r"\.tfrecord$|dataset_info\.json$|model\.weights\.h5$|detections\.json$|metrics\.json$"
        r"|decision\.json$|variables\.data"
    )
    found = {}
    for name, content in files.items():
        if (place := re.match(pattern, name)) and kept.search(name):
            content = re.sub(MADE, b"", content)
            found["{step}/{output}/{name}".format(**place.groupdict())] = content
    return found


def failures(run: Vertex) -> str:
    return "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in run.logs.iterdir())


def states(ended) -> dict[str, str]:
    return {name: step.state for name, step in ended.items()}


def check_first_run(
    run: Vertex, ended, expected: dict[str, bytes], *, root: str, name: str
) -> None:
    assert states(ended) == dict.fromkeys(STEPS, "SUCCEEDED"), failures(run)
    found = in_the_bucket(run, root)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert any(name.endswith(".tfrecord") for name in found)
    # The trainings were jobs of their own, asked for by Google's client.
    jobs = list(run.trainings.jobs.values())
    assert [job.display_name for job in jobs] == [f"{name}-pretrain", f"{name}-finetune"]
    assert len(run.trainings.commands) == 2
    (pushed,) = ended["ModelPusher"].outputs["pushed_model"]
    assert pushed.metadata["pushed"] == 1
    served = pushed.metadata["pushed_destination"].removeprefix("gs://bucket/")
    assert {f"{served}/saved_model.pb", f"{served}/pushed.json"} <= set(run.bucket.names(served))


def test_a_small_pipeline_from_conversion_to_push(tmp_path):
    data = tiny_pipeline.write_data(tmp_path / "data")
    with vertex(tmp_path, configs={"tiny.py": TINY}) as run:
        expected = run_locally(run.image, tmp_path / "local", f"configs/tiny.py:{data}")
        run.bucket.put_folder(data, "data")
        faults = Faults(FaultPlan(seed=3, shares=dict.fromkeys(Fault, 0.003)))
        run.bucket.front.faults = faults
        arguments = ("--config=configs/tiny.py:gs://bucket/data", "--pipeline_root=gs://bucket/run")
        job = run.compile(*arguments)
        check_first_run(run, run.executor.run(job), expected, root="run", name="pix2seq-tiny")
        assert sum(faults.counts.values()) > 5

        # Again: everything comes from the cache except the comparison with what is blessed now,
        # and nothing is pushed twice.
        versions = {name.split("/")[2] for name in run.bucket.names("run/serving_model/")}
        again = run.executor.run(job)
        assert states(again) == {
            **dict.fromkeys(STEPS, "CACHED"),
            "PretrainDataVersion": "SUCCEEDED",
            "FinetuneDataVersion": "SUCCEEDED",
            "LatestBlessedModel-model-blessing-resolver": "SUCCEEDED",
            "LatestBlessedModel-model-resolver": "SUCCEEDED",
            "CocoEvaluator": "SUCCEEDED",
            "EvaluationReport": "SUCCEEDED",
            "ModelPusher": "SUCCEEDED",
        }, failures(run)
        (compared,) = again["LatestBlessedModel-model-resolver"].outputs["model"]
        assert compared == again["Finetune"].outputs["model"][0]
        assert {n.split("/")[2] for n in run.bucket.names("run/serving_model/")} == versions

        # The proof can fail: a step that is not in the image fails, and nothing after it runs.
        broken = job.read_text().replace("components.coco_evaluator", "components.coco_evaluators")
        job.write_text(broken)
        ended = run.executor.run(job)
        assert ended["CocoEvaluator"].state == "FAILED"
        assert ended["ModelPusher"].state == "NOT_RUN"

        check_records_are_found_and_changed_data_noticed(run, again, data, arguments)


def check_records_are_found_and_changed_data_noticed(run: Vertex, before, data, arguments):
    """Another image finds the records; an object of the same name and size makes new ones."""
    job = run.compile(*arguments, "--stages=convert", "--image=an/image:2")

    def records(ended):
        assert {*states(ended).values()} <= {"SUCCEEDED", "CACHED"}, failures(run)
        return {
            step: ended[step].outputs["examples"][0].uri
            for step in ("PretrainExamples", "FinetuneExamples")
        }

    def written():
        return {n: c for n, c in run.bucket.files("run/conversion/").items() if "Split-" in n}

    files = written()
    later = run.executor.run(job)
    assert later["FinetuneExamples"].state == "SUCCEEDED"
    assert records(later) == records(before)
    assert written() == files
    image = next((data / "coco" / "val2017").iterdir())
    run.bucket.put(f"data/coco/val2017/{image.name}", image.read_bytes())
    changed = run.executor.run(job)
    assert changed["PretrainExamples"].state == "CACHED"
    assert changed["FinetuneExamples"].state == "SUCCEEDED"
    assert records(changed)["FinetuneExamples"] != records(before)["FinetuneExamples"]
    assert written().items() > files.items()


def test_the_demonstration_from_conversion_to_push(tmp_path):
    demo_data.generate(tmp_path / "data", demo_data.DemoSettings())
    # A seventh of its steps: both runs must agree long before the model is good.
    short = DEMO
    for setting, shorter in {
        "pretrain.update(steps=1000,": "pretrain.update(steps=150,",
        "finetune.update(steps=700,": "finetune.update(steps=100,",
        "min_metrics.AP = 0.40": "min_metrics.AP = 0.0",
    }.items():
        assert setting in short
        short = short.replace(setting, shorter)
    in_bucket = short.replace('ROOT = "demo/data"', 'ROOT = "gs://bucket/data"')
    here = short.replace('ROOT = "demo/data"', f'ROOT = "{tmp_path}/data"')
    assert in_bucket != short != here
    with vertex(tmp_path, configs={"in_bucket.py": in_bucket, "here.py": here}) as run:
        expected = run_locally(run.image, tmp_path / "local", "configs/here.py")
        run.bucket.put_folder(tmp_path / "data", "data")
        job = run.compile("--config=configs/in_bucket.py", "--pipeline_root=gs://bucket/demo")
        ended = run.executor.run(job)
        check_first_run(run, ended, expected, root="demo", name="pix2seq-demo")
