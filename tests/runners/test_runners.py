"""The conversion gives the same bytes on every runner. `make test-runners` fetches the runners."""

import hashlib
import itertools
import json
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from components.conversion.convert import convert_dataset
from components.labels.layout import recognise
from pix2seq_model.data.defects import DefectLimits
from pix2seq_model.data.manifest import read_dataset_info
from tests.fixtures.label_exports import WRITERS
from tests.fixtures.small_dataset import SmallDataset, options
from tests.runners.flink_cluster import flink_cluster
from tests.runners.install import FOUND_FILE

pytestmark = pytest.mark.large

_FOUND = Path(__file__).resolve().parents[2] / "build" / "runners" / FOUND_FILE


def found(name):
    """What `install.py` found of a runner; skips the test where it found nothing."""
    if not _FOUND.exists():
        pytest.skip("the other runners are not installed: `make test-runners` does it")
    runner = json.loads(_FOUND.read_text())[name]
    if "missing" in runner:
        pytest.skip(f"{name} is not available here: {runner['missing']}")
    return runner


def arguments(name):
    if name == "two processes":
        return [
            "--runner=FnApiRunner",
            "--direct_running_mode=multi_processing",
            "--direct_num_workers=2",
        ]
    if name == "prism":
        return ["--runner=PrismRunner", f"--prism_location={found(name)['path']}"]
    runner = found(name)
    return [
        "--runner=FlinkRunner",
        f"--flink_job_server_jar={runner['path']}",
        f"--flink_version={runner['flink_version']}",
        "--flink_master=[local]",
        "--environment_type=LOOPBACK",
        "--parallelism=2",
    ]


def convert(source, output, beam_arguments):
    limits = DefectLimits(max_dropped_images=0.2, max_dropped_annotations=0.2)
    convert_dataset(
        options(source, num_shards=dict.fromkeys(source, 2) | {"train": 4}, limits=limits),
        str(output),
        make_pipeline=lambda: beam.Pipeline(options=PipelineOptions(beam_arguments)),
    )
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in output.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """A data set with defects of both kinds, and its conversion in memory."""
    folder = tmp_path_factory.mktemp("data")
    train, val = SmallDataset(60), SmallDataset(10, first_id=300)
    del train.files["pictures/117.jpg"]
    train.boxes(120)[0]["bbox"] = [1, 1, 0, 5]
    train.boxes(121)[0]["bbox"] = [-5, 1, 9, 5]
    train.content["images"].append({**train.image(130), "id": 999})
    source = {"train": train.write(folder / "train"), "val": val.write(folder / "val")}
    return source, convert(source, folder / "out", ["--runner=FnApiRunner"])


@pytest.mark.parametrize("name", ["two processes", "prism", "flink"])
def test_same_bytes_on_every_runner(name, expected, tmp_path):
    source, files = expected
    assert convert(source, tmp_path / "out", arguments(name)) == files
    # Shards, dead letters, the notes for a rerun, the manifest: nothing was left out above.
    assert len([path for path in files if path.endswith(".tfrecord")]) == 6
    assert {"dataset_info.json", "statistics.json", "progress/summary.json"} <= set(files)
    assert read_dataset_info(tmp_path / "out").split("train").num_examples == 59


def test_same_bytes_on_a_flink_cluster_with_two_task_managers(expected, tmp_path):
    source, files = expected
    with flink_cluster(found("flink"), tmp_path / "cluster") as cluster:
        assert convert(source, tmp_path / "out", cluster.beam_arguments) == files
        records = cluster.records_by_task_manager()
    assert len(records) == 2
    assert all(records.values())


def convert_export(name, folder, output, beam_arguments):
    """Converts a data set as a labelling tool writes it; the labels become a COCO file first."""
    layout = recognise(str(folder / name))
    assert layout.format == name
    files = convert(layout.splits, output, beam_arguments)
    del files["progress/summary.json"]  # It names the COCO file, which lies in the output.
    return files


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """The folder of all exports, and what each becomes in memory."""
    folder = tmp_path_factory.mktemp("exports")
    for name, write in WRITERS.items():
        write(folder / name)
    in_memory = ["--runner=FnApiRunner"]
    return folder, {
        name: convert_export(name, folder, folder / f"out-{name}", in_memory) for name in WRITERS
    }


@pytest.mark.parametrize(
    ("name", "format_name"),
    # Flink takes half a minute to start, and on every runner the job reads the same COCO file.
    [*itertools.product(["two processes", "prism"], WRITERS), ("flink", "voc")],
)
def test_same_bytes_from_every_labelling_tool(name, format_name, exports, tmp_path):
    folder, expected_files = exports
    files = convert_export(format_name, folder, tmp_path / "out", arguments(name))
    assert files == expected_files[format_name]
    assert "labels/train.json" in files
    assert any(path.endswith(".tfrecord") for path in files)
