"""docs/cloud.md, followed to the letter: every command, from the empty project to the clean-up.

Google Cloud is a stand-in that says no where Google does (`tests/cloud/project`); `make`, `python`
and what these start are real. The owner makes the project; somebody who has the document's roles,
and no others, submits. `make test-cloud`.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pix2seq_model.network.pix2seq import build_model
from tests.cloud.image.bases import NotHere
from tests.cloud.project import objects
from tests.cloud.project.documented import blocks
from tests.cloud.project.gcloud import WHO
from tests.cloud.project.google_cloud import GoogleCloud, google_cloud
from tests.cloud.vertex_executor.vertex import PROJECT_ROOT
from tests.fixtures import published_layout, tiny_config, tiny_pipeline

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(1800)]

OWNER, SOMEBODY = "me@example.com", "somebody@example.com"
BUCKET, RUN = "my-bucket", "runs/coco_vit_b"
# All that is replaced in the document's commands, and why.
_NETWORK = tiny_config.pipeline_config("").model.to_dict()
TINY = [
    # Settings that make a machine of these processor cores enough, and the training short.
    "--config.cloud.training.preset=cpu",
    "--config.cloud.evaluation.accelerator_count=0",
    "--config.cloud.dataflow.max_num_workers=1",
    *(f"--config.model.{name}={_NETWORK[name]}" for name in tiny_config._MODEL),
    *(
        f"--config.vocabulary.{name}={getattr(tiny_config.VOCABULARY, name)}"
        for name in ("vocab_size", "num_bins", "coord_shift")
    ),
    *(
        f"--config.finetune.{setting}"
        for setting in (
            *("image_size=(64,64)", "batch_size=4", "steps=6", "steps_per_log=3"),
            *("checkpoint_every_steps=3", "warmup_steps=0", "shuffle_buffer=8"),
            "sequence.max_objects=4",
        )
    ),
    *("--config.evaluation.max_objects=4", "--config.evaluation.batch_size=4"),
]
REPLACED = {
    "--runner=DataflowRunner": " ".join(["--runner=DataflowRunner", *map(repr, TINY)]),
    # An endpoint of somebody's, which the run of the document does not make.
    " ENDPOINT ": " 123 ",
    "=ID ": "=4 ",
}
# Not carried out here: `make test-runners` has the engines, which run on machines of one's own.
LEFT_OUT = ("Flink and Spark",)
# The second submission in the section, of the file that the first one wrote.
AGAIN = "--nocompile"


class Reader:
    """Somebody at a shell in a copy of the project, next to the unpacked archives of COCO."""

    def __init__(self, folder: Path, cloud: GoogleCloud) -> None:
        self.folder, self._cloud = folder, cloud
        self._variables = folder.parent / "variables"
        for name in ("pipelines", "components", "configs", "pix2seq_model", "requirements"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT_ROOT / name, folder / name, ignore=ignore)
        shutil.copytree(PROJECT_ROOT / "deploy", folder / "deploy")
        for name in ("Makefile", "Dockerfile"):
            shutil.copy(PROJECT_ROOT / name, folder / name)

    def run(self, block: str, *, who: str) -> str:
        """Runs a block by bash, with the variables that the blocks before it left."""
        home = self.folder.parent / "homes" / who
        home.mkdir(parents=True, exist_ok=True)
        own = {WHO: who, "HOME": str(home), "PYTHONPATH": str(self.folder)}
        left, kept = self._variables, "PROJECT REGION BUCKET IMAGE ACCOUNT USER_TO_BE"
        script = (
            f"[ -f {left} ] && . {left}\nset -euo pipefail\n{block}\n"
            f'for name in {kept}; do [ -z "${{!name-}}" ] || declare -p $name; done > {left}'
        )
        done = subprocess.run(
            ["/bin/bash", "-c", script],
            check=False,
            cwd=self.folder,
            capture_output=True,
            text=True,
            env={**self._cloud.variables, **own, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        print(f"--- {who}\n{block}{done.stdout}{done.stderr}")
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}\n{said(self._cloud)}"
        return done.stdout


def said(cloud: GoogleCloud) -> str:
    """The ends of what the processes in the cloud said."""
    logs = sorted(cloud.logs.iterdir(), key=os.path.getmtime)
    ends = [f"{log.name}:\n{log.read_text(errors='replace')[-2000:]}" for log in logs]
    return "\n".join([*ends, str(cloud.conversions.why)])[-12_000:]


def publish_checkpoint(cloud: GoogleCloud, folder: Path) -> None:
    """Puts one of the published places into the public bucket, of the tiny network."""
    config = tiny_config.model_config(image_size=(64, 64))
    network = build_model(config, tiny_config.VOCABULARY, seed=0)
    published_layout.write(folder, network)
    place = "obj365_pretrain/vit_b_640x640_b256_s400k"
    cloud.bucket.put_folder(folder, place, bucket=objects.PUBLIC)


def sign_in(text: str) -> str:
    """The commands of the first block with which one signs in."""
    wanted = ("gcloud auth", "gcloud config")
    return "\n".join(line for line in text.splitlines() if line.startswith(wanted)) + "\n"


def test_the_document_from_the_empty_project_to_the_clean_up(tmp_path):
    try:
        with google_cloud(tmp_path, name="my-project", owner=OWNER, bucket=BUCKET) as cloud:
            follow(tmp_path, cloud)
    except NotHere as error:
        pytest.skip(str(error))


def follow(folder: Path, cloud: GoogleCloud) -> None:
    publish_checkpoint(cloud, folder / "published")
    data = tiny_pipeline.write_data(folder / "data") / "coco"
    reader = Reader(folder / "work", cloud)
    for name in ("train2017", "val2017", "annotations"):
        shutil.move(data / name, reader.folder / name)
    (_, first), *rest = [row for row in blocks() if row[0] not in LEFT_OUT]
    reader.run(first, who=OWNER)
    run = ""
    for section, text in rest:
        block = text
        for found, instead in REPLACED.items():
            block = block.replace(found, instead)
        if section != "4. The run":
            reader.run(block, who=OWNER)
        elif AGAIN not in text:
            reader.run(sign_in(first), who=SOMEBODY)
            run, said_of_run = block, reader.run(block, who=SOMEBODY)
            check_run(cloud, said_of_run)
        else:
            cloud.pipelines.carry_out = False
            arguments = run.replace("\\\n", " ").replace("python pipelines/run_pipeline.py", "")
            block = block.replace("...", arguments.strip()).replace("--submit", "--nofollow", 1)
            block = block.replace("full.json", "pix2seq-coco-finetune-vit-b-640.json")
            reader.run(block.replace("--nofollow", "--submit --nofollow", 1), who=SOMEBODY)
            check_values(cloud)
        if "evaluation_cache" in text:
            kept = cloud.bucket.names(f"{RUN}/")
            assert not [name for name in kept if f"{RUN}/training/" in name]
            assert any(name.endswith("/saved_model.pb") for name in kept)
            with cloud.project.change() as content:
                content["endpoints"] = {"europe-west4": {"123": ["4"]}}
    assert cloud.bucket.names(f"{RUN}/") == []
    left = cloud.project.read()
    assert (left["repositories"], left["pushed"], left["endpoints"]) == (
        [],
        {},
        {"europe-west4": {}},
    )


def check_run(cloud: GoogleCloud, printed: str) -> None:
    """The model was pushed by a run on Vertex AI and Dataflow."""
    assert "The run ended: SUCCEEDED" in printed
    names = cloud.bucket.names(f"{RUN}/serving_model/")
    assert any(name.endswith("/saved_model.pb") for name in names)
    (training,) = cloud.trainings.jobs.values()
    assert training.state.name == "JOB_STATE_SUCCEEDED"
    (conversion,) = cloud.conversions.jobs.values()
    assert conversion.current_state.name == "JOB_STATE_DONE"


def check_values(cloud: GoogleCloud) -> None:
    """The job that was submitted without compiling has the values that were given."""
    *_, job = cloud.pipelines.jobs.values()
    values = job.runtime_config.parameters
    assert values["push_destination"].string_value == f"gs://{BUCKET}/candidates"
    assert "finetune.steps=20000" in values["finetune_overrides"].string_value
