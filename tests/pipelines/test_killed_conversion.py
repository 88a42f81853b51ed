"""convert_dataset.py killed at random moments and started again: nothing shows that it was."""

import random
import time

import pytest

from pix2seq_model.data.manifest import check_shards, read_dataset_info
from tests.fixtures.commands import run_command, start_command
from tests.fixtures.folder_content import content_of
from tests.fixtures.small_dataset import SmallDataset

NUM_IMAGES, NUM_SHARDS = 600, 24
KILLS = 3


def check_what_a_reader_finds(output, expected):
    """Without the manifest no data set; with it a complete one, whatever else is in the folder."""
    if not (output / "dataset_info.json").exists():
        return
    info = read_dataset_info(output)
    check_shards(output, info)
    assert info.fingerprint() == expected.fingerprint()


@pytest.mark.parametrize(
    "workers",
    [(), pytest.param(("--direct_num_workers=2",), marks=pytest.mark.large, id="two processes")],
)
def test_killed_at_random_moments(tmp_path, workers):
    data = SmallDataset(NUM_IMAGES)
    del data.files["pictures/117.jpg"]
    data.boxes(130)[0]["bbox"] = [-5, 1, 9, 5]
    data.write(tmp_path)
    arguments = (
        "--dataset=coco_format",
        f"--images={tmp_path}/images",
        f"--annotations={tmp_path}/labels.json",
        f"--num_shards={NUM_SHARDS}",
        *workers,
    )
    run_command("convert_dataset", "--help")  # Loads what every later command shares.
    start = time.monotonic()
    run_command("convert_dataset", *arguments, f"--output={tmp_path}/whole")
    whole = seconds = time.monotonic() - start
    expected, output = read_dataset_info(tmp_path / "whole"), tmp_path / "killed"
    killed, tried = [], 0
    while len(killed) < KILLS:
        tried += 1
        assert tried < 20, f"only killed at {killed} of {whole:.1f} s"
        # Each later than the one before, which left it less to do.
        fraction = random.uniform(len(killed), len(killed) + 1) / KILLS
        command = start_command(
            "convert_dataset", *arguments, f"--output={output}", folder=tmp_path
        )
        moment, start = fraction * seconds, time.monotonic()
        command.join(moment)
        if command.is_alive():
            command.kill()
            command.join()
            killed.append((round(moment, 2), len(list(output.glob("progress/train-*")))))
            check_what_a_reader_finds(output, expected)
        else:  # It was faster, having less to do: an earlier moment.
            assert command.exitcode == 0
            seconds = min(seconds, time.monotonic() - start)
            (output / "dataset_info.json").unlink()
    (output / "Split-train").mkdir(exist_ok=True, parents=True)
    (output / "Split-train/examples-00003-of-00007.tfrecord").write_bytes(b"of another run")
    run_command("convert_dataset", *arguments, f"--output={output}")
    assert content_of(output) == content_of(tmp_path / "whole"), f"killed at (s, shards) {killed}"
    print(f"killed at (seconds, shards complete): {killed}, of {whole:.1f} s")
