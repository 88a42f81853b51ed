"""The executor with TFX's artifacts, on a few drawn images."""

import json
import shutil

import pytest
from apache_beam.io.filesystems import FileSystems
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.orchestration.kubeflow.v2.container.kubeflow_v2_entrypoint_utils import (
    translate_executor_output,
)
from tfx.types import artifact_utils, standard_artifacts

from components.example_gen import Executor, conversion_options, give_back
from components.example_gen import _move_folder as move_folder
from pix2seq_model.data.manifest import check_shards, read_dataset_info
from pix2seq_model.errors import DataError
from tests.fixtures import object_store
from tests.fixtures.tiny_config import pipeline_config
from tests.fixtures.tiny_pipeline import write_data


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return pipeline_config(str(write_data(tmp_path_factory.mktemp("data")))).data.finetune.to_dict()


def convert(source, folder, *, data_version="", given="", name="artifact"):
    """Runs the executor; returns the artifact of the examples."""
    examples = standard_artifacts.Examples()
    examples.uri = str(folder / name)
    (folder / name).mkdir(parents=True)  # As TFX does.
    context = BaseBeamExecutor.Context(beam_pipeline_args=["--runner=FnApiRunner"])
    Executor(context).Do(
        {},
        {"examples": [examples]},
        {
            "source": json.dumps(source),
            "section": "data.finetune",
            "given": given,
            "data_version": data_version,
            "name": "drawn",
            "seed": 1,
            "work_dir": str(folder / "work"),
        },
    )
    return examples


def test_examples_with_their_splits(source, tmp_path):
    examples = convert(source, tmp_path)
    assert artifact_utils.decode_split_names(examples.split_names) == ["train", "val"]
    info = read_dataset_info(examples.uri)
    check_shards(examples.uri, info)
    assert info.split("val").num_examples == 8
    assert examples.get_int_custom_property("val_images") == 8
    assert examples.get_int_custom_property("train_bytes") == info.split("train").num_bytes
    (told,) = translate_executor_output({"examples": [examples]}, {})["examples"].artifacts
    assert told.metadata["val_objects"] == info.split("val").num_objects
    assert not (tmp_path / "work").exists()
    assert not (tmp_path / "artifact/data_report.html").exists()


@pytest.fixture
def pipelines(monkeypatch):
    """The Beam jobs that are started."""
    started = []
    make = Executor._make_beam_pipeline

    def counted(executor):
        started.append(executor)
        return make(executor)

    monkeypatch.setattr(Executor, "_make_beam_pipeline", counted)
    return started


def files(folder):
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_on_vertex_finished_records_are_found_and_no_job_is_started(source, tmp_path, pipelines):
    first = convert(source, tmp_path, data_version="v1")
    assert first.uri == str(tmp_path / "work-v1")
    assert list((tmp_path / "artifact").iterdir()) == []
    before = files(tmp_path / "work-v1")
    assert len(pipelines) == 1

    again = convert(source, tmp_path, data_version="v1", name="later")
    assert again.uri == first.uri
    assert again.split_names == first.split_names
    assert files(tmp_path / "work-v1") == before
    assert len(pipelines) == 1

    changed = convert(source, tmp_path, data_version="v2", name="changed")
    assert changed.uri == str(tmp_path / "work-v2")
    assert len(pipelines) == 2
    assert files(tmp_path / "work-v1") == before


def test_records_that_are_not_whole_are_written_again(source, tmp_path, pipelines):
    uri = convert(source, tmp_path, data_version="v1").uri
    info = read_dataset_info(uri)
    (tmp_path / "work-v1" / info.split("val").shards[0].file).unlink()
    convert(source, tmp_path, data_version="v1", name="later")
    assert len(pipelines) == 2
    check_shards(uri, read_dataset_info(uri))
    assert read_dataset_info(uri) == info


def test_finished_records_with_too_many_defects_for_a_lower_limit(source, tmp_path, pipelines):
    images = shutil.copytree(source["images"]["val"], tmp_path / "images")
    next(images.iterdir()).write_bytes(b"no image")
    damaged = {**source, "images": {**source["images"], "val": str(images)}}
    tolerant = {**damaged, "max_defect_fraction": 0.5}
    convert(tolerant, tmp_path, data_version="v1")
    before = files(tmp_path / "work-v1")
    with pytest.raises(DataError, match=r"val: 1 of 8 images dropped.*the limit is 5\.00%"):
        convert(damaged, tmp_path, data_version="v1", name="later")
    assert files(tmp_path / "work-v1") == before
    assert len(pipelines) == 1


def test_places_of_the_submission_are_converted(source, tmp_path):
    images = shutil.copytree(source["images"]["val"], tmp_path / "images")
    next(images.iterdir()).unlink()
    given = f"data.finetune.images.val={images}"
    uri = convert({**source, "max_defect_fraction": 0.5}, tmp_path, given=given).uri
    assert read_dataset_info(uri).split("val").num_examples == 7


def test_a_failed_conversion_leaves_its_dead_letters(source, tmp_path):
    images = shutil.copytree(source["images"]["val"], tmp_path / "images")
    next(images.iterdir()).write_bytes(b"no image")
    with pytest.raises(DataError, match="image_not_decodable"):
        convert({**source, "images": {**source["images"], "val": str(images)}}, tmp_path)
    assert not (tmp_path / "artifact" / "dataset_info.json").exists()
    letters = (tmp_path / "work/dead_letter").glob("val-*.jsonl")
    assert "image_not_decodable" in "".join(path.read_text() for path in letters)


def test_only_splits_with_annotations_are_converted():
    source = pipeline_config("/data").data.pretrain.to_dict()
    source |= {"max_defect_fraction": 0.5, "drop_fake": True, "check_pixels": True, "max_pixels": 9}
    options = conversion_options(source, name="n", seed=3)
    assert list(options.splits) == ["train"]
    assert options.splits["train"].images == "/data/objects365"
    assert (options.drop_fake, options.drop_reflected) == (True, False)
    assert (options.check_pixels, options.max_pixels) == (True, 9)
    assert options.limits.max_dropped_images == options.limits.max_dropped_annotations == 0.5


def test_tfx_is_not_packed_up_for_the_workers():
    context = BaseBeamExecutor.Context(beam_pipeline_args=["--runner=FnApiRunner"])
    assert Executor(context)._beam_pipeline_args == ["--runner=FnApiRunner"]


def test_on_an_object_store_the_manifest_is_moved_last(monkeypatch):
    source, target = f"{object_store.SCHEME}://work", f"{object_store.SCHEME}://artifact"
    names = ["dataset_info.json", *(f"Split-train/{number:03d}" for number in range(150))]
    for name in names:
        with FileSystems.create(f"{source}/{name}") as file:
            file.write(name.encode())
    moved = []

    def rename(sources, targets):
        moved.append(sources)
        original(sources, targets)

    original = FileSystems.rename
    monkeypatch.setattr(FileSystems, "rename", rename)
    move_folder(source, target)
    assert [len(sources) for sources in moved] == [100, 50, 1]
    assert moved[-1] == [f"{source}/dataset_info.json"]
    for name in names:
        with FileSystems.open(f"{target}/{name}") as file:
            assert file.read() == name.encode()


def test_records_that_became_no_output_are_given_back(tmp_path):
    examples = standard_artifacts.Examples()
    examples.uri, work_dir = str(tmp_path / "artifact"), tmp_path / "work"
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact/dataset_info.json").write_text("{}")
    give_back({"examples": [examples]}, {"work_dir": str(work_dir)})
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert (work_dir / "dataset_info.json").exists()
    # And where another conversion has begun there meanwhile, that one is left alone.
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact/dataset_info.json").write_text("other")
    give_back({"examples": [examples]}, {"work_dir": str(work_dir)})
    assert (work_dir / "dataset_info.json").read_text() == "{}"


def test_what_is_no_records_is_not_given_back(tmp_path):
    model, properties = standard_artifacts.Model(), {"work_dir": str(tmp_path / "work")}
    model.uri = str(tmp_path / "artifact")
    (tmp_path / "artifact").mkdir()
    give_back({"examples": [model]}, properties)
    (tmp_path / "artifact/dataset_info.json").write_text("{}")
    give_back({"model": [model]}, properties)
    give_back({"examples": [model]}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]
