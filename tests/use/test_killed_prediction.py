"""predict_batch.py killed at random moments and started again: nothing shows that it was."""

import hashlib
import random
import time

import pytest

from tests.fixtures.commands import run_command, start_command
from tests.fixtures.evaluated_model import write_model
from tests.fixtures.records import jpeg

pytestmark = pytest.mark.use

NUM_IMAGES, PER_SHARD = 60, 4
KILLS = 2


def content(output):
    """Every file, the notes for reruns included: path to digest."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in output.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(NUM_IMAGES):
        (folder / f"{number:02d}.jpg").write_bytes(jpeg(50 + number, 60, seed=number))
    (folder / "17.jpg").write_bytes(b"broken")
    return folder


def test_killed_at_random_moments(model_dir, photos, tmp_path):
    arguments = (
        f"--model={model_dir}",
        f"--images={photos}",
        f"--images_per_shard={PER_SHARD}",
        "--score_threshold=0",
        "--end_token_offset=-100",
    )
    done = run_command("predict_batch", *arguments, f"--output={tmp_path}/whole")
    assert "60 images in = 59 written + 1 unreadable; " in done.stdout
    assert "  image_not_decodable: 1\n" in done.stdout
    assert "detecting: 15 of 15 shards" in done.stderr

    output = tmp_path / "killed"
    shards = NUM_IMAGES // PER_SHARD
    kept = []
    for number in range(KILLS):
        command = start_command("predict_batch", *arguments, f"--output={output}", folder=tmp_path)
        # After so many shards, and then in the middle of whatever comes next.
        wanted = random.randint(1, 5) + 5 * number
        while command.is_alive() and len(list(output.glob("progress/detections-*"))) < wanted:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.02))
        command.kill()
        command.join()
        notes = sorted(output.glob("progress/detections-*"))
        kept.append({path.name: path.stat().st_mtime_ns for path in notes})
        assert not (output / "predictions.json").exists()
        # A finished file is a whole one.
        for path in (output / "detections").glob("*.jsonl"):
            assert path.read_bytes() == (tmp_path / "whole/detections" / path.name).read_bytes()
    assert 0 < len(kept[0]) < len(kept[1]) < shards, kept
    run_command("predict_batch", *arguments, f"--output={output}")
    assert content(output) == content(tmp_path / "whole")
    for name, written_at in kept[1].items():
        assert (output / "progress" / name).stat().st_mtime_ns == written_at, "done twice"
    assert kept[1].items() >= kept[0].items()


def test_two_processes_write_the_same_bytes(model_dir, photos, tmp_path):
    arguments = (f"--model={model_dir}", f"--images={photos}", f"--images_per_shard={PER_SHARD}")
    for name, workers in (("one", ()), ("two", ("--direct_num_workers=2",))):
        run_command("predict_batch", *arguments, f"--output={tmp_path}/{name}", *workers)
    assert content(tmp_path / "one") == content(tmp_path / "two")
