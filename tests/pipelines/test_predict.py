"""The command as a person runs it."""

import json

from tests.fixtures.commands import run_command
from tests.fixtures.evaluated_model import write_model
from tests.fixtures.records import jpeg
from tests.fixtures.videos import read_video, write_video


def test_a_folder_of_photos(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "000017.jpg").write_bytes(jpeg(80, 50, seed=1))
    (photos / "000018.jpg").write_bytes(b"broken")
    done = run_command(
        "predict",
        f"--model={write_model(tmp_path / 'model')}",
        f"--images={photos}",
        f"--output={tmp_path / 'out'}",
        "--score_threshold=0",
        "--max_objects=2",
        "--end_token_offset=-100",
    )
    assert "1 image, " in done.stdout
    best = json.loads((tmp_path / "out/predict.json").read_text())["best_score"]
    assert "2 detections, " in done.stdout
    assert f", the best score {best:.3f}: " in done.stdout
    assert "1 image could not be read or drawn:" in done.stdout
    assert "000018.jpg: not an image" in done.stdout
    assert "detecting: 2/2 (100%)" in done.stderr
    detections = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [row["image_id"] for row in detections] == [17, 17]


def test_a_video_and_a_camera_that_is_not_there(tmp_path):
    flags = (
        f"--model={write_model(tmp_path / 'model')}",
        f"--output={tmp_path / 'out'}",
        "--score_threshold=0",
        "--max_objects=2",
        "--end_token_offset=-100",
    )
    missing = run_command("predict", *flags, "--images=99", status=2)
    assert "camera 99 cannot be opened" in missing.stderr
    clip = write_video(tmp_path / "clip.mp4", frames=3)
    done = run_command("predict", *flags, f"--images={clip}", "--every=2")
    assert "2 images (2 of them frames of videos), " in done.stdout
    assert len(read_video(tmp_path / "out/videos/clip.mp4")[0]) == 2


def test_what_cannot_work_ends_in_one_line(tmp_path):
    (tmp_path / "x.jpg").write_bytes(jpeg(8, 8, seed=1))
    for images, message in (
        (tmp_path / "x.jpg", "nowhere: no such folder"),
        (tmp_path / "none", "no such file or folder"),
    ):
        flags = ("--model=nowhere", f"--images={images}", f"--output={tmp_path / 'out'}")
        assert message in run_command("predict", *flags, status=2).stderr
