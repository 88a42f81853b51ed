"""What a run would find out late is said before it starts."""

import json

import pytest

from components.storage.files import write_file
from pipelines.cli import before_a_run as checks
from pipelines.cli.local_gpus import Gpu
from pipelines.request import Request, parse_stages
from pix2seq_model.errors import DataError
from pix2seq_model.experiment import estimate as estimates
from pix2seq_model.experiment import load_config
from tests.fixtures.label_exports import write_yolo
from tests.fixtures.served_bucket import served_bucket
from tests.fixtures.step_costs import traced

GIB = 2**30


def annotations(path, *, boxes=2, category=1, ids=(1, 2), size=(100, 50), images=6):
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": size[0], "height": size[1]}
            for i in range(images)
        ],
        "annotations": [
            {"image_id": i, "category_id": category, "bbox": [k, 1, 30, 30]}
            for i in range(images)
            for k in range(boxes)
        ],
        "categories": [{"id": number, "name": f"kind {number}"} for number in ids],
    }
    path.write_text(json.dumps(content))


def said(folder, *overrides, stages=(), place=None):
    folder = place or folder
    places = [
        f"data.finetune.{kind}.{split}={place}"
        for split in ("train", "val")
        for kind, place in (("images", folder), ("annotations", f"{folder}/{split}.json"))
    ]
    given = ["pretrain.enabled=False", "finetune.steps=50", "finetune.warmup_steps=0"]
    config = load_config("configs/demo.py", [*given, *places, *overrides])
    request = Request(
        config=config,
        config_name="",
        pipeline_root=str(folder),
        stages=parse_stages(stages, config),
    )
    return list(checks.before_a_run(request))


def test_settings_and_data_that_fit(tmp_path):
    for split in ("train", "val"):
        annotations(tmp_path / f"{split}.json", ids=(1,))
    assert said(tmp_path) == []


@pytest.mark.parametrize(
    ("train", "val", "overrides", "message"),
    [
        (
            {"boxes": 6},
            {},
            (),
            "finetune: train: finetune.sequence.max_objects=4: 6 images have more than the 4",
        ),
        ({}, {"boxes": 6}, (), "finetune: val: evaluation.max_objects=4: 6 images have more"),
        (
            {"ids": (1, 500)},
            {"ids": (1, 500)},
            (),
            "the 2 classes are numbered from 1, as 'kind 500', 500 in the file, which is 2",
        ),
        (
            {},
            {},
            ("finetune.steps=1000",),
            "finetune.steps=1,000 at batch 32 are 5,333 passes over the 6 images of train: give "
            "--config.finetune.epochs=NUMBER",
        ),
        ({}, {"category": 2}, (), "class kind 2: boxes in val, but none in train"),
        (
            {"size": (10_000, 60)},
            {},
            (),
            "train: 6 images are more than 64 times as long as wide, less than a pixel wide",
        ),
    ],
)
def test_what_does_not_suit_the_data(tmp_path, train, val, overrides, message):
    annotations(tmp_path / "train.json", **train)
    annotations(tmp_path / "val.json", **val)
    assert any(message in text for text in said(tmp_path, *overrides))


def said_of_yolo(root):
    # As `settle_data` puts them.
    kinds = [(kind, s) for kind in ("images", "annotations") for s in ("train", "val")]
    places = [f"data.finetune.{kind}.{split}={root}" for kind, split in kinds]
    return said(root, "data.finetune.format=yolo", *places)


def test_labels_of_a_tool_are_looked_at_too(tmp_path):
    root = write_yolo(tmp_path)
    assert said_of_yolo(root) == []
    labels = {
        path.stem: path for split in ("train", "valid") for path in root.glob(f"{split}/labels/*")
    }
    labels["two"].write_text("")  # The only dog of train.
    labels["four"].write_text("1 0.5 0.5 0.2 0.2\n")
    assert said_of_yolo(root)[0].startswith(
        "finetune: class dog: boxes in val, but none in train: not to be learned"
    )
    labels["one"].write_text("")
    with pytest.raises(DataError, match=r"^data\.finetune\.annotations\.train=.*: no box to learn"):
        said_of_yolo(root)


def test_labels_of_a_tool_that_are_many_are_left_to_the_conversion(tmp_path, monkeypatch):
    root = write_yolo(tmp_path)
    monkeypatch.setattr(checks, "_MAX_LABELLED_IMAGES", 1)
    (text,) = said_of_yolo(root)
    assert "not looked at before the run: " in text
    assert "holds more than 1 files" in text


def test_labels_of_a_tool_in_a_bucket_are_left_to_the_conversion(tmp_path):
    (text,) = said(tmp_path, "data.finetune.format=yolo", place="gs://data/set")
    assert "not looked at before the run: the labels in gs://data/set/train.json" in text


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """A bucket with annotations; those of train have a class more than val has boxes of."""
    with served_bucket(monkeypatch):
        for split in ("train", "val"):
            annotations(tmp_path / "x.json")
            write_file("gs://data/set", f"{split}.json", (tmp_path / "x.json").read_bytes())
        yield "gs://data/set"


def test_data_in_a_bucket_are_looked_at_too(tmp_path, bucket):
    (text,) = said(tmp_path, place=bucket)
    assert text.startswith("finetune: class kind 2: no box in any split")
    write_file(bucket, "val.json", b"[]")
    with pytest.raises(DataError, match=r"annotations: gs://data/set/val\.json"):
        said(tmp_path, place=bucket)
    with pytest.raises(DataError, match=r"gs://data/none/train\.json: no such file"):
        said(tmp_path, place="gs://data/none")


def test_what_is_not_looked_at_is_said(tmp_path, bucket, monkeypatch):
    monkeypatch.setattr(checks, "_MAX_FETCHED_BYTES", 100)
    (text,) = said(tmp_path, place=bucket)
    assert "the annotations are not looked at before the run: gs://data/set/train.json has" in text

    def unreachable(path):
        raise ConnectionError("no route")

    monkeypatch.setattr("components.storage.files.file_metadata", unreachable)
    (text,) = said(tmp_path, place=bucket)
    assert text.endswith("gs://data/set/train.json cannot be read now (no route)")
    for split in ("train", "val"):
        annotations(tmp_path / f"{split}.json", ids=(1,))
    monkeypatch.setattr(checks, "_MAX_SCANNED_BYTES", 100)
    (text,) = said(tmp_path)
    assert "train.json has" in text


@pytest.mark.parametrize(("split", "lost"), [("train", "learn"), ("val", "measure")])
def test_a_split_without_boxes(tmp_path, split, lost):
    for name in ("train", "val"):
        annotations(tmp_path / f"{name}.json", boxes=2 * (name != split))
    with pytest.raises(DataError, match=rf"annotations\.{split}=.*no box to {lost} in 6 images"):
        said(tmp_path)
    # Nothing is measured where nothing is evaluated.
    if split == "val":
        assert said(tmp_path, stages=["finetune"])


def test_a_network_that_this_machine_has_no_memory_for(tmp_path, monkeypatch):
    for split in ("train", "val"):
        annotations(tmp_path / f"{split}.json", ids=(1,))
    monkeypatch.setattr(estimates, "step_costs", traced)
    monkeypatch.setattr(checks, "has_accelerator", lambda: False)
    large = ("finetune.image_size=640", "model.max_seq_len=32")
    for memory, overrides, is_said in (
        (16 * GIB, large, True),
        (900 * GIB, large, False),
        (16 * GIB, (), False),  # Too small to be looked at.
    ):
        monkeypatch.setattr(checks, "machine_memory", lambda memory=memory: memory)
        texts = said(tmp_path, *overrides)
        assert len(texts) == is_said
    monkeypatch.setattr(checks, "machine_memory", lambda: 16 * GIB)
    (text,) = said(tmp_path, *large)
    assert "finetune does not fit this machine: a step takes about " in text
    assert "there are 16.0; the system would end it. What fits: --config.finetune." in text


def test_a_network_that_a_gpu_has_no_memory_for(tmp_path, monkeypatch):
    for split in ("train", "val"):
        annotations(tmp_path / f"{split}.json", ids=(1,))
    monkeypatch.setattr(estimates, "step_costs", traced)
    monkeypatch.setattr(checks, "has_accelerator", lambda: True)
    monkeypatch.setattr(checks, "machine_memory", lambda: 4 * GIB)  # Not what a step is kept in.
    large = ("finetune.image_size=640", "model.max_seq_len=32")
    small, usual = Gpu("NVIDIA L4", 24 * GIB), Gpu("NVIDIA H200", 900 * GIB)
    for gpus, is_said in (((small,), True), ((usual,), False), ((usual, small), True), ((), False)):
        monkeypatch.setattr(checks, "local_gpus", lambda gpus=gpus: gpus)
        texts = said(tmp_path, *large)
        assert len(texts) == is_said
        if is_said:
            whose = "this machine's GPU" if len(gpus) == 1 else "this machine's 2 GPUs"
            assert texts[0].startswith(f"finetune does not fit {whose}: a step takes about ")
            assert "which has 24.0, 22.1 of them to use" in texts[0]
            assert "What fits: --config.finetune." in texts[0]
