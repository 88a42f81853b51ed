"""Real full disks: the commands on a tmpfs that has no room, and then has some."""

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pix2seq_model.data.manifest import check_shards, read_dataset_info
from tests.fixtures import tiny_pipeline
from tests.fixtures.small_disk import SmallDisk, small_disk

PROJECT = Path(__file__).parents[2]
ENOUGH = 1 << 18  # KiB
FULL = r"No space left on device|database or disk is full|cannot commit"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filled:
    """When the disk of the results is full, and what is said then.

    Attributes:
      stage: as the command announces it; the disk is filled then. Empty: from the start.
      room: KiB that are left.
      last: the stage in which they are used up, if that is a later one.
      message: a pattern of it, in which {root} is the folder of the results.
    """

    stage: str
    room: int
    message: str
    last: str = ""


# One after the other; in room for some of what the stage writes, and not for all.
FILLED = {
    "TFX's metadata": Filled(stage="", room=40, message=r"{root}/metadata\.sqlite cannot be"),
    "records": Filled(
        stage="Convert the fine-tuning data", room=40, message="{root}/conversion/.* is full"
    ),
    "their report": Filled(
        stage="Report on the fine-tuning data",
        room=200,
        message=r"{root}/FinetuneDataReport/.*/data_report\.html: No space",
    ),
    "a checkpoint": Filled(
        stage="Pretrain", room=800, message=r"The checkpoint {root}/training/pretrain-.*\.npz could"
    ),
    "the model": Filled(
        stage="Pretrain",
        room=1150,
        message=r"{root}/Pretrain/model/.* No space left",
    ),
    "the evaluation": Filled(stage="Evaluate", room=8, message="{root}/.*(?:full|No space)"),
    "its report": Filled(
        stage="Report on the evaluation",
        room=100,
        message=r"{root}/EvaluationReport/.*/report\.html: No space",
    ),
    "the push": Filled(
        stage="Report on the evaluation",  # A push of so little is over before a disk is filled.
        room=600,
        message=r"push\.destination {root}/serving_model cannot be written",
        last="Push",
    ),
}


def run(
    command: str, *arguments: object, environment: Mapping[str, str], folder: Path
) -> subprocess.Popen[str]:
    """Starts a command as a person would, its output in files of the folder."""
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        return subprocess.Popen(
            [sys.executable, PROJECT / f"pipelines/{command}.py", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
            stdout=out,
            stderr=err,
            text=True,
        )


def run_whole(root: Path, config: Path, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Starts the pipeline on the tiny experiment."""
    arguments = (f"--config={config}", f"--pipeline_root={root}")
    return run("run_pipeline", *arguments, environment=environment, folder=folder)


def announced(folder: Path) -> list[str]:
    """The stages that have begun, as the command says."""
    return re.findall(r"^\[\d/9\] (.*[^.:\n])$", (folder / "out").read_text(), re.MULTILINE)


def fill_at(
    stage: str, room: int, process: subprocess.Popen[str], disk: SmallDisk, folder: Path
) -> None:
    """Waits for the stage, then fills the disk; returns when the process has ended."""
    while process.poll() is None and stage not in announced(folder):
        time.sleep(0.005)
    assert process.poll() is None, f"it ended before {stage}: {announced(folder)}"
    disk.leave(room)
    process.wait()


def said(folder: Path, process: subprocess.Popen[str]) -> str:
    """The one message of a command that failed on a full disk."""
    out, err = ((folder / name).read_text() for name in ("out", "err"))
    assert process.returncode in (1, 2), (process.returncode, out, err)
    assert "Traceback" not in out + err
    (message,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert re.search(FULL, message), message
    assert re.search("free some|give a folder", message), message
    return message


def summary(root: Path) -> dict:
    return json.loads((root / "summary.json").read_text())


def outcome(root: Path) -> dict:
    """What a run is for: the weights, what was measured, the one version that was pushed."""
    (version,) = (root / "serving_model").iterdir()
    found = summary(root)
    return {
        "weights": json.loads((version / "model.json").read_text())["weights_sha256"],
        "digest": json.loads((version / "pushed.json").read_text())["model_digest"],
        "files": sorted(
            path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()
        ),
        "metrics": found["evaluation"]["metrics"],
        "blessed": found["blessing"]["blessed"],
    }


def unfinished(root: Path) -> list[str]:
    """What writers name so until it is whole."""
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if re.search(r"^\.partial-|\.partial$|^\.tmp|-journal$", path.name)
    ]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with small_disk(folder / "probe", size=4):
        pass  # Or all is skipped here, before anything has run.
    return tiny_pipeline.write_config(folder / "tiny.py", tiny_pipeline.write_data(folder / "data"))


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    """A pipeline root in which the pipeline ran once, with room."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_whole(folder / "root", config, folder).wait() == 0, (folder / "err").read_text()
    return folder / "root"


@pytest.mark.large
def test_a_disk_that_is_full_in_every_stage(config, undisturbed, tmp_path):
    with contextlib.ExitStack() as disks:
        disk = disks.enter_context(small_disk(tmp_path / "disk", size=ENOUGH))
        root = disk.place / "root"
        for name, filled in FILLED.items():
            disk.resize(ENOUGH) if filled.stage else disk.leave(filled.room)
            if name == "the evaluation":  # The logs of the training before it have a disk alone.
                disks.enter_context(small_disk(root / "Finetune/model_run", size=100))
            process = run_whole(root, config, tmp_path)
            if filled.stage:
                fill_at(filled.stage, filled.room, process, disk, tmp_path)
            process.wait()
            message = said(tmp_path, process)
            print(f"{name}, {disk.used()} KiB used: {message}")
            expected = filled.message.replace("{root}", re.escape(str(root)))
            assert re.search(expected, message), (name, message)
            reached = (announced(tmp_path) or [""])[-1]
            assert reached == (filled.last or filled.stage), name
            assert unfinished(root) == []
            given_up = (tmp_path / "err").read_text().count("cannot be written any more (")
            assert given_up == 1 if name == "the evaluation" else given_up <= 1, name
        disk.resize(ENOUGH)
        assert run_whole(root, config, tmp_path).wait() == 0, (tmp_path / "err").read_text()
        assert outcome(root) == outcome(undisturbed)
        for examples in root.glob("*Examples/examples/*"):
            check_shards(examples, read_dataset_info(examples))
        assert len(list(root.glob("*Examples/examples/*"))) == 2


@pytest.mark.large
def test_a_full_temporary_folder_of_a_whole_run(config, undisturbed, tmp_path):
    with small_disk(tmp_path / "scratch", size=8) as disk:
        root, place = tmp_path / "root", {"TMPDIR": str(disk.place)}
        process = run_whole(root, config, tmp_path, **place)
        process.wait()
        message = said(tmp_path, process)
        print(message)
        assert "TMPDIR" in message
        assert unfinished(root) == []
        assert list(disk.place.iterdir()) == []
        disk.resize(ENOUGH)
        assert run_whole(root, config, tmp_path, **place).wait() == 0
        assert outcome(root) == outcome(undisturbed)


# KiB of the temporary folder that are too little; the second of an export holds the weights and a
# graph, and not what quantising writes next to it.
SCRATCH = {"predict": (8,), "evaluate": (8,), "export_onnx": (8, 500)}


@pytest.mark.large
@pytest.mark.parametrize("command", SCRATCH)
def test_a_full_temporary_folder(command, config, undisturbed, tmp_path):
    data = config.parent / "data/coco"
    (model,) = (undisturbed / "serving_model").iterdir()
    arguments = {
        "predict": (f"--images={data}/val2017", "--score_threshold=0"),
        "evaluate": (
            f"--images={data}/val2017",
            f"--annotations={data}/annotations/instances_val2017.json",
        ),
        "export_onnx": (),
    }[command]
    output = tmp_path / "out_of_it"
    given = (f"--model={model}", f"--output={output}", *arguments)
    with small_disk(tmp_path / "scratch", size=8) as disk:
        for size in (*SCRATCH[command], ENOUGH):
            disk.resize(size)
            process = run(command, *given, environment={"TMPDIR": str(disk.place)}, folder=tmp_path)
            process.wait()
            if size == ENOUGH:
                break
            message = said(tmp_path, process)
            print(f"{command}, {size} KiB: {message}")
            assert str(disk.place) in message
            assert "TMPDIR" in message
            assert not list(output.glob("*.onnx"))
            assert not (output / "metrics.json").exists()
            assert [path for path in disk.place.iterdir() if path.name.startswith("tmp")] == []
        assert process.returncode == 0, (tmp_path / "err").read_text()


@pytest.mark.large
def test_a_full_output_of_predict(config, undisturbed, tmp_path):
    """What was written stays, pictures that were not are listed, and the same command does all."""
    (model,) = (undisturbed / "serving_model").iterdir()
    images = config.parent / "data/coco/val2017"

    def predict(output):
        given = (f"--model={model}", f"--images={images}", f"--output={output}")
        flags = ("--score_threshold=0", "--format=coco,csv,yolo", "--batch_size=1")
        process = run("predict", *given, *flags, environment={}, folder=tmp_path)
        process.wait()
        return process

    assert predict(tmp_path / "whole").returncode == 0
    with small_disk(tmp_path / "disk", size=24) as disk:
        output = disk.place / "out"
        process = predict(output)
        message = said(tmp_path, process)
        print(message)
        (told,) = re.findall(
            r"what was found in (\d+) of 8 images is in its results\.jsonl", message
        )
        text = (output / "results.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        named = {name for line in lines for name in line.get("files", ())}
        assert sum("id" in line for line in lines) == int(told) > 0
        there = {
            path.relative_to(output).as_posix()
            for folder in ("pictures", "labels")
            for path in (output / folder).rglob("*")
            if path.is_file()
        }
        assert there
        assert there <= named
        for name in there:  # Whole, each.
            assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert not json.loads((output / "predict.json").read_text())["complete"]
        assert unfinished(output) == []
        disk.resize(ENOUGH)
        assert predict(output).returncode == 0
        written, whole = (
            {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
            for folder in (output, tmp_path / "whole")
        )
        assert written == whole
        assert json.loads((output / "detections.json").read_text()) == json.loads(
            (tmp_path / "whole/detections.json").read_text()
        )
