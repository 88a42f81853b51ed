"""The job that Beam's own DataflowRunner submits for a conversion, recorded by a local stand-in."""

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2 as api

from tests.cloud.dataflow.checks import pickles, problems
from tests.cloud.dataflow.service import dataflow_service
from tests.cloud.dataflow.submission import IMAGE, beam_arguments, convert_on, write_dataset


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """With one job, of the real command; it is not carried out, so the command fails after it."""
    folder = tmp_path_factory.mktemp("dataflow")
    with dataflow_service() as recorded:
        done = convert_on(recorded, write_dataset(folder), folder / "out")
        assert len(recorded.jobs) == 1, done.stderr[-3000:]
        yield recorded


def test_nothing_is_wrong_with_it(service):
    assert problems(service.jobs[0], service.pipeline(), image=IMAGE) == []


def test_machines_and_places(service):
    job = service.jobs[0]
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "n1-highmem-8"
    assert pool["diskSizeGb"] == 77
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 3
    assert job["environment"]["serviceAccountEmail"] == "s@p.iam"
    assert "bucket/root/beam_temp" in job["environment"]["tempStoragePrefix"]
    assert job["labels"] == {
        "pipeline": "pix2seq",
        "team": "vision",
        "pix2seq-config": "pix2seq-demo",
    }


def test_only_the_graph_is_staged(service):
    assert [name.rsplit("/", 1)[-1] for name in service.objects] == ["pipeline.pb"]
    assert all(name.startswith("gs://bucket/root/beam_temp/") for name in service.objects)


def test_the_graph_is_the_conversion(service):
    graph = api.Pipeline.FromString(service.pipeline())
    names = {transform.unique_name for transform in graph.components.transforms.values()}
    assert any(name.startswith("ConvertDataset/WriteShards") for name in names)
    assert any(b"components.conversion" in pickle for pickle in pickles(service.pipeline()))


class Local(beam.DoFn):
    """Belongs to another module than the one that a launcher would run."""

    def process(self, element):
        yield element


def broken_job(*more, transform=None):
    """Submits a tiny job in which something is not as it should be."""
    with dataflow_service() as recorded:
        arguments = [
            *(*beam_arguments(), *more, "--no_auth"),
            f"--dataflow_endpoint={recorded.address}",
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", recorded.address)
            pipeline = beam.Pipeline(options=PipelineOptions(arguments))
            _ = pipeline | beam.Create([1]) | (transform or beam.ParDo(Local()))
            pipeline.run()
        return problems(recorded.jobs[0], recorded.pipeline(), image=IMAGE)


def of_main():
    function = eval("lambda element: element", {"__name__": "__main__"})
    function.__module__ = "__main__"
    return beam.Map(function)


@pytest.mark.parametrize(
    ("more", "transform", "complaint"),
    [
        (["--sdk_container_image=other:1"], None, "the image is other:1"),
        (["--experiments=none"], None, "a file is staged"),
        (["--save_main_session"], None, "the main module is pickled"),
        ([], of_main, "code of __main__ is pickled"),
    ],
)
def test_a_job_that_is_not_as_it_should_be(more, transform, complaint, monkeypatch):
    found = broken_job(*more, transform=transform and transform())
    if complaint == "a file is staged":
        # Beam adds options of one name up, so what the config switches off cannot come back.
        assert found == []
        arguments = [a for a in beam_arguments() if "disable_logging" not in a]
        monkeypatch.setattr(
            "tests.cloud.dataflow.test_dataflow_job.beam_arguments", lambda: arguments
        )
        found = broken_job()
    assert any(complaint in problem for problem in found), found
