"""Submits a conversion by the project's own command and Beam's own DataflowRunner."""

import os
import subprocess
import sys
from pathlib import Path

from pipelines.request import Request
from pipelines.vertex.job import on_cloud
from pix2seq_model.experiment import load_config
from tests.cloud.dataflow.service import DataflowService
from tests.fixtures.small_dataset import SmallDataset

PROJECT = Path(__file__).resolve().parents[3]
IMAGE = "europe-docker.pkg.dev/p/r/pix2seq:1"
SHARDS = "--num_shards=train=4,val=2"
# A setting of each kind that the config has for Dataflow.
OVERRIDES = (
    *("cloud.dataflow.machine_type=n1-highmem-8", "cloud.dataflow.disk_size_gb=77"),
    *("cloud.dataflow.max_num_workers=3", "cloud.labels.team=vision"),
    "cloud.service_account=s@p.iam",
)


def beam_arguments() -> tuple[str, ...]:
    """What the pipeline's conversion step is given for Dataflow."""
    request = Request(
        config=load_config("configs/demo.py", OVERRIDES),
        config_name="configs/demo.py",
        overrides=OVERRIDES,
        pipeline_root="gs://bucket/root",
        beam_args=("--project=p", "--region=europe-west4", "--runner=DataflowRunner"),
    )
    return on_cloud(request, image=IMAGE).beam_args


def write_dataset(folder: Path) -> list[str]:
    """Writes images and annotations, with a defect; returns the command's flags that name them."""
    train, val = SmallDataset(24), SmallDataset(6, first_id=300)
    del train.files["pictures/117.jpg"]
    places = {"train": train.write(folder / "train"), "val": val.write(folder / "val")}
    return [
        *("--dataset=coco_format", SHARDS, "--max_dropped_images=0.5"),
        f"--images={','.join(f'{s}={p.images}' for s, p in places.items())}",
        f"--annotations={','.join(f'{s}={p.annotations}' for s, p in places.items())}",
    ]


def convert(
    dataset: list[str], output: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess:
    """Runs `pipelines/convert_dataset.py`."""
    command = [sys.executable, str(PROJECT / "pipelines" / "convert_dataset.py"), *dataset]
    return subprocess.run(
        [*command, f"--output={output}", "--nodata_report", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
    )


def convert_on(service: DataflowService, dataset: list[str], output: Path, *more: str):
    """The same, submitted to a stand-in for Dataflow."""
    return convert(
        *(dataset, output, *beam_arguments(), *more),
        *(f"--dataflow_endpoint={service.address}", "--no_auth"),
        STORAGE_EMULATOR_HOST=service.address,
    )
