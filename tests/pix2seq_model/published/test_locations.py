"""The published places, and what a place to start from is."""

import pytest

from pix2seq_model.published.locations import PUBLISHED_CHECKPOINTS, checkpoint_files, is_checkpoint


def test_the_table_holds_the_sixteen_places():
    assert len(set(PUBLISHED_CHECKPOINTS.values())) == 16
    assert PUBLISHED_CHECKPOINTS["vit_l", "coco", 1333] == (
        "gs://pix2seq/coco_det_finetune/vit_l_1333x1333"
    )
    assert PUBLISHED_CHECKPOINTS["resnetc", "objects365", 640] == (
        "gs://pix2seq/obj365_pretrain/resnetc_640x640_b256_s400k"
    )


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("gs://pix2seq/coco_det_finetune/vit_b_640x640", True),
        ("gs://pix2seq/coco_det_finetune/vit_b_640x640/", True),
        ("gs://mine/models/run/ckpt-400000", True),
        ("gs://mine/models/run", False),
        ("published", True),
        ("published/model-7", True),
        ("published/model-8", False),
        ("ours", False),
        ("nowhere", False),
    ],
)
def test_checkpoint_or_model_folder(place, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("published/model-7.index", "ours/model.json", "ours/model-7.index"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert is_checkpoint(place) is expected


def test_files_of_a_checkpoint(tmp_path):
    folder = tmp_path / "run/checkpoints"
    folder.mkdir(parents=True)
    for name in ("a.index", "a.data-00000-of-00001", "b.index", "checkpoint", "../config.json"):
        (folder / name).touch()
    names = [file.name for file in checkpoint_files(str(folder / "a"))]
    assert names == ["a.data-00000-of-00001", "a.index", "config.json"]
    assert "b.index" in [file.name for file in checkpoint_files(str(folder))]
