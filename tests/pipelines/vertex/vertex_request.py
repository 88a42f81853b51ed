"""A run of the full config on the cloud, and how to read the job file that it gives."""

import json
from pathlib import Path

from pipelines.request import Request, parse_stages
from pipelines.vertex import job as vertex_job
from pix2seq_model.experiment import load_config

IMAGE = "europe-docker.pkg.dev/project/repository/pix2seq:1"
PLACE = ("--project=project", "--region=europe-west4")
DATAFLOW = (*PLACE, "--runner=DataflowRunner", "--max_num_workers=50")
BUCKET = tuple(
    f"data.{stage}.{kind}.{split}=gs://data/{stage}/{split}{suffix}"
    for stage in ("pretrain", "finetune")
    for kind, suffix in (("images", ""), ("annotations", ".json"))
    for split in ("train", "val")
)


def request(*overrides, beam_args=DATAFLOW, stages=(), **changed):
    config = load_config("configs/full.py:vit_b,640", (*BUCKET, *overrides))
    wanted = {
        "config": config,
        "config_name": "configs/full.py:vit_b,640",
        "overrides": (*BUCKET, *overrides),
        "pipeline_root": "gs://bucket/full",
        "stages": parse_stages(stages, config),
        "beam_args": beam_args,
    }
    return Request(**{**wanted, **changed})


def written(folder: Path, wanted: Request) -> dict:
    wanted = vertex_job.on_cloud(wanted, image=IMAGE)
    path = vertex_job.write_job(wanted, job_file=str(folder / "job.json"))
    return json.loads(path.read_text())


def container(job, step):
    return job["pipelineSpec"]["deploymentSpec"]["executors"][f"{step}_executor"]["container"]


def parameters(job, step):
    task = job["pipelineSpec"]["root"]["dag"]["tasks"][step]
    return {
        name: value["runtimeValue"]["constantValue"]["stringValue"]
        for name, value in task["inputs"]["parameters"].items()
        if "stringValue" in value.get("runtimeValue", {}).get("constantValue", {})
    }


def custom_config(job, step):
    return json.loads(parameters(job, step)["custom_config"])
