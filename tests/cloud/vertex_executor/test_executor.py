"""The executor of job files, on jobs whose steps are a line of Python."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseError

from tests.cloud.vertex_executor.conditions import is_met
from tests.cloud.vertex_executor.executor import Executor
from tests.cloud.vertex_executor.job import fill
from tests.cloud.vertex_executor.metadata import MetadataStore

# Notes that it ran; its output's metadata say how many inputs and which parameter it had.
STEP = """
import json, pathlib, sys
given = json.loads(sys.argv[1])
inputs, outputs = given["inputs"], given["outputs"]
before = inputs["artifacts"].get("before", {}).get("artifacts", [])
metadata = {
    "blessed": 1.0,
    "inputs": len(before),
    "asked": inputs["parameterValues"].get("number"),
    "current_model_id": before[0]["name"] if before else None,
}
file = pathlib.Path(outputs["outputFile"])
file.parent.mkdir(parents=True)
made = outputs["artifacts"]["made"]["artifacts"][0]
said = {"made": {"artifacts": [{**made, "metadata": metadata}]}}
file.write_text(json.dumps({"artifacts": said}))
with open(sys.argv[2], "a") as ran:
    ran.write(sys.argv[3] + "\\n")
sys.exit(sys.argv[3] == sys.argv[4])
"""
MODEL = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
BLESSING = {"instanceSchema": "title: tfx.ModelBlessing\ntype: object\n"}


class Local:
    def content(self, uri):
        return Path(uri).read_bytes() if Path(uri).exists() else None


def step(name, *, made=MODEL, after=None, fails="", cached=True, number=None):
    """A task with its component and executor."""
    inputs = {"artifacts": {}, "parameters": {}}
    defined = copy.deepcopy(inputs)
    if after:
        producer, key = after
        inputs["artifacts"]["before"] = {
            "taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": key}
        }
        defined["artifacts"]["before"] = {"artifactType": MODEL}
    if number is not None:
        inputs["parameters"]["number"] = number
        defined["parameters"]["number"] = {"parameterType": "NUMBER_INTEGER"}
    return {
        "task": {
            "taskInfo": {"name": name},
            "componentRef": {"name": name},
            "inputs": inputs,
            "cachingOptions": {"enableCache": cached},
        },
        "component": {
            "executorLabel": f"{name}_executor",
            "inputDefinitions": defined,
            "outputDefinitions": {"artifacts": {"made": {"artifactType": made}}},
        },
        "executor": {
            "container": {
                "image": "an/image",
                "command": [sys.executable, "-c", STEP],
                "args": ["{{$}}", "RAN", name, fails],
            }
        },
    }


def resolver(name, query, *, made, after=None):
    inputs = {"artifacts": {}}
    defined = {"artifacts": {}}
    if after:
        producer, key = after
        inputs["artifacts"]["input"] = {
            "taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": key}
        }
        defined["artifacts"]["input"] = {"artifactType": BLESSING}
    return {
        "task": {"taskInfo": {"name": name}, "componentRef": {"name": name}, "inputs": inputs},
        "component": {
            "executorLabel": f"{name}_executor",
            "inputDefinitions": defined,
            "outputDefinitions": {"artifacts": {"found": {"artifactType": made}}},
        },
        "executor": {"resolver": {"outputArtifactQueries": {"found": {"filter": query}}}},
    }


class Bench:
    """A folder in which jobs run."""

    def __init__(self, folder):
        self.folder = folder
        self.executor = Executor(
            files=Local(),
            metadata=MetadataStore(folder / "metadata.json"),
            start=self._start,
            logs=folder,
        )

    def _start(self, command, variables, log):
        return subprocess.Popen(command, env=dict(variables), cwd=self.folder)

    def run(self, steps, *, root=None, parameters=None, change=lambda job: None):
        job = {
            "pipelineSpec": {
                "pipelineInfo": {"name": "some-pipeline"},
                "schemaVersion": "2.0.0",
                "root": {
                    "dag": {"tasks": {name: parts["task"] for name, parts in steps.items()}},
                    "inputDefinitions": {"parameters": root or {}},
                },
                "components": {name: parts["component"] for name, parts in steps.items()},
                "deploymentSpec": {
                    "executors": {
                        f"{name}_executor": parts["executor"] for name, parts in steps.items()
                    }
                },
            },
            "runtimeConfig": {"gcsOutputDirectory": str(self.folder)},
        }
        change(job)
        file = self.folder / "job.json"
        file.write_text(json.dumps(job))
        return self.executor.run(file, parameters=parameters)

    @property
    def ran(self):
        """The steps whose processes ran, in their order."""
        file = self.folder / "RAN"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def states(ended):
    return {name: step.state for name, step in ended.items()}


TWO = {"second": step("second", after=("first", "made")), "first": step("first")}


def test_steps_run_behind_those_whose_output_they_take(bench):
    ended = bench.run(TWO)
    assert states(ended) == {"first": "SUCCEEDED", "second": "SUCCEEDED"}
    assert bench.ran == ["first", "second"]
    made = ended["second"].outputs["made"][0]
    assert made.metadata["inputs"] == 1
    assert made.title == "tfx.Model"
    assert made.uri.startswith(f"{bench.folder}/123/some-pipeline-")


def test_a_finished_step_comes_from_the_cache_of_the_next_run(bench, tmp_path):
    first = bench.run(TWO)
    again = Bench(tmp_path).run(TWO)
    assert states(again) == {"first": "CACHED", "second": "CACHED"}
    assert again["second"].outputs == first["second"].outputs
    assert bench.ran == ["first", "second"]


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job["pipelineSpec"]["pipelineInfo"].update(name="another-pipeline"),
        lambda job: job["pipelineSpec"]["deploymentSpec"]["executors"]["first_executor"][
            "container"
        ].update(image="an/image:2"),
        lambda job: job["pipelineSpec"]["root"]["dag"]["tasks"]["first"]["cachingOptions"].clear(),
    ],
)
def test_a_changed_step_runs_again_and_so_do_those_behind_it(bench, change):
    bench.run(TWO)
    assert states(bench.run(TWO, change=change))["second"] == "SUCCEEDED"
    assert bench.ran == ["first", "second"] * 2


def test_behind_a_failure_nothing_runs(bench):
    steps = {"first": step("first", fails="first"), "second": TWO["second"]}
    assert states(bench.run(steps)) == {"first": "FAILED", "second": "NOT_RUN"}
    assert bench.ran == ["first"]


def test_a_step_is_tried_again_where_the_file_says_so(bench):
    steps = {"first": step("first", fails="first")}
    steps["first"]["task"]["retryPolicy"] = {"maxRetryCount": 2}
    assert bench.run(steps)["first"].attempts == 3
    assert bench.ran == ["first"] * 3


@pytest.mark.parametrize(("least", "state"), [("0.0", "SUCCEEDED"), ("1.0", "SKIPPED")])
def test_a_condition_decides(bench, least, state):
    steps = copy.deepcopy(TWO)
    condition = f"(inputs.artifacts['before'].artifacts[0].metadata['blessed'] > {least})"
    steps["second"]["task"]["triggerPolicy"] = {"condition": condition}
    assert states(bench.run(steps)) == {"first": "SUCCEEDED", "second": state}


def test_parameters_of_the_pipeline(bench):
    steps = {"first": step("first", number={"componentInputParameter": "steps"})}
    root = {"steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 7}}

    def asked(**parameters):
        ended = bench.run(steps, root=root, parameters=parameters)
        return ended["first"].outputs["made"][0].metadata["asked"]

    assert [asked(), asked(steps=9), asked()] == [7, 9, 7]
    assert bench.ran == ["first"] * 2  # The last one came from the cache.
    with pytest.raises(ValueError, match=r"parameters are \['steps'\]"):
        bench.run(steps, root=root, parameters={"stesp": 9})


# Says what lies in a folder: sizes and times, as generations are.
LISTING = """
import json, pathlib, sys
outputs = json.loads(sys.argv[1])["outputs"]
files = pathlib.Path("data").iterdir()
found = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
file = pathlib.Path(outputs["outputFile"])
file.parent.mkdir(parents=True)
file.write_text(json.dumps({"parameterValues": {"version": str(found)}}))
with open(sys.argv[2], "a") as ran:
    ran.write("version\\n")
"""


def test_a_step_runs_again_if_what_another_one_found_out_has_changed(bench):
    """The first step is never taken from the cache, the others while it says the same."""
    image = bench.folder / "data" / "1.jpg"
    image.parent.mkdir()
    image.write_text("a")
    version = step("version", cached=False)
    version["component"]["outputDefinitions"] = {
        "parameters": {"version": {"parameterType": "STRING"}}
    }
    version["executor"]["container"]["command"] = [sys.executable, "-c", LISTING]
    output = {"producerTask": "version", "outputParameterKey": "version"}
    convert = step("convert")
    convert["task"]["inputs"]["parameters"]["data_version"] = {"taskOutputParameter": output}
    # As TFX declares it.
    convert["component"]["inputDefinitions"]["parameters"]["data_version"] = {"type": "STRING"}
    steps = {
        "version": version,
        "convert": convert,
        "train": step("train", after=("convert", "made")),
    }
    done = ["version", "convert", "train"]
    bench.run(steps)
    assert bench.ran == done
    assert states(bench.run(steps)) == {
        "version": "SUCCEEDED",
        "convert": "CACHED",
        "train": "CACHED",
    }
    assert bench.ran == [*done, "version"]
    image.write_text("b")  # Of the same name and size.
    assert states(bench.run(steps)) == dict.fromkeys(steps, "SUCCEEDED")
    assert bench.ran == [*done, "version", *done]


def latest_blessed():
    blessed = 'schema_title="tfx.ModelBlessing" AND state=LIVE AND metadata.blessed.number_value=1'
    named = (
        'schema_title="tfx.Model" AND state=LIVE AND '
        "name=\"{{$.inputs.artifacts['input'].metadata['current_model_id']}}\""
    )
    return {
        "blessing": resolver("blessing", blessed, made=BLESSING),
        "model": resolver("model", named, made=MODEL, after=("blessing", "found")),
    }


def test_the_latest_blessed_model(bench):
    found = bench.run(latest_blessed())
    assert found["blessing"].outputs == found["model"].outputs == {"found": []}
    made = bench.run(
        {
            "train": step("train"),
            "evaluate": step("evaluate", made=BLESSING, after=("train", "made")),
        }
    )
    found = bench.run(latest_blessed())
    assert found["model"].outputs["found"] == made["train"].outputs["made"]


def test_an_imported_artifact_is_the_same_in_the_next_run(bench):
    importer = {
        "artifactUri": {"constantValue": {"stringValue": "gs://models/1"}},
        "typeSchema": MODEL,
        "customProperties": {"model_digest": {"constantValue": {"stringValue": "abc"}}},
    }
    steps = {
        "start": {
            "task": {"taskInfo": {"name": "start"}, "componentRef": {"name": "start"}},
            "component": {
                "executorLabel": "start_executor",
                "outputDefinitions": {"artifacts": {"result": {"artifactType": MODEL}}},
            },
            "executor": {"importer": importer},
        },
        "next": step("next", after=("start", "result")),
    }
    first = bench.run(steps)["start"].outputs["result"][0]
    assert (first.uri, first.metadata) == ("gs://models/1", {"model_digest": "abc"})
    assert states(bench.run(steps))["next"] == "CACHED"
    importer["customProperties"]["model_digest"]["constantValue"]["stringValue"] = "def"
    assert states(bench.run(steps))["next"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda task: task.update(iteratorPolicy={}), ValueError),
        (lambda task: task.update(dependsOn=["first"]), ParseError),
        (lambda task: task["inputs"]["artifacts"].clear(), ValueError),
        (lambda task: task["dependentTasks"].append("second"), ValueError),
    ],
)
def test_what_it_does_not_know_is_refused(bench, change, error):
    steps = copy.deepcopy(TWO)
    steps["second"]["task"]["dependentTasks"] = ["first"]
    change(steps["second"]["task"])
    with pytest.raises(error):
        bench.run(steps)
    assert "second" not in bench.ran


INPUTS = {
    "artifacts": {"a": {"artifacts": [{"uri": "gs://b/c", "metadata": {"blessed": 1.0}}]}},
    "parameterValues": {"stage": "finetune"},
    "parameters": {},
}


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("inputs.parameter_values['stage'] == 'finetune'", True),
        ("!(inputs.parameter_values['stage'] == 'finetune')", False),
        ("(inputs.artifacts['a'].artifacts[0].uri == ('gs://b' + '/c'))", True),
        ("(1.0 < 2.0 && 3.0 < 2.0) || 1.0 != 2.0", True),
        ("1.0 >= 1.0 && !(2.0 <= 1.0)", True),
    ],
)
def test_conditions(condition, met):
    inputs = {**INPUTS, "parameter_values": INPUTS["parameterValues"]}
    assert is_met(condition, inputs) is met


@pytest.mark.parametrize("condition", ["size(inputs) > 1", "'text'", "1.0 < 2.0 2.0", "1.0 ? 2.0"])
def test_other_conditions_are_refused(condition):
    with pytest.raises(ValueError):
        is_met(condition, INPUTS)


def test_placeholders():
    given = {"inputs": INPUTS, "outputs": {"artifacts": {}}}
    word = "--uri={{$.inputs.artifacts['a'].uri}} {{$.inputs.parameters['stage']}}"
    assert fill(word, given) == "--uri=gs://b/c finetune"
    assert json.loads(fill("{{$}}", given)) == given
    with pytest.raises(ValueError, match="not known here"):
        fill("{{$.pipeline_job_name}}", given)
