"""A conversion submitted to a stand-in for Dataflow, and really run by workers of their own.

The project's command submits by Beam's DataflowRunner; the stand-in hands exactly the pipeline that
it was given to Prism. Prism's workers run as Dataflow's would: Beam's boot program, in an
environment that holds what the image holds. `make test-cloud`.
"""

import hashlib
from pathlib import Path

import pytest

from tests.cloud.dataflow import workers
from tests.cloud.dataflow.service import dataflow_service
from tests.cloud.dataflow.submission import convert, convert_on, write_dataset
from tests.cloud.image.bases import NotHere

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(3600)]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run_on_dataflow(make_worker, folder):
    """Converts by workers that `make_worker` makes; returns its end, the log and the data."""
    try:
        worker = make_worker(folder)
        with workers.prism(folder / "prism.log") as address:

            def run(pipeline: bytes) -> bool:
                return workers.run_recorded(pipeline, worker=worker, address=address, timeout_s=900)

            with dataflow_service(run) as service:
                dataset = write_dataset(folder / "data")
                done = convert_on(service, dataset, folder / "out")
    except NotHere as error:
        pytest.skip(str(error))
    return done, (folder / "prism.log").read_text(), dataset


@pytest.mark.parametrize("environment", ["packages", "image"])
def test_the_same_bytes_as_without_dataflow(environment, tmp_path):
    done, log, dataset = run_on_dataflow(getattr(workers, f"{environment}_worker"), tmp_path)
    assert done.returncode == 0, (done.stderr + log)[-3000:]
    here = convert(dataset, tmp_path / "here")
    assert here.returncode == 0, here.stderr[-3000:]
    assert digests(tmp_path / "out") == digests(tmp_path / "here")
    assert len(list((tmp_path / "out").rglob("*.tfrecord"))) == 6


def test_workers_without_the_code_fail(tmp_path):
    """The proof can fail: the workers have no code but what the image would hold."""
    done, log, _ = run_on_dataflow(
        lambda folder: workers.packages_worker(folder, without="components"), tmp_path
    )
    assert done.returncode != 0
    assert "No module named 'components'" in log
    assert not (tmp_path / "out" / "dataset_info.json").exists()
