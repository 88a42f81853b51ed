"""What a person gets wrong at the command line: exit status, one message, no traceback.

Each message names the culprit and what to do. The commands run as processes that are forked from
one which has Beam imported (`tests.fixtures.commands`); run_pipeline.py's own mistakes, which take
no new process, are in test_run_pipeline.py too.
"""

import json

import pytest

from tests.fixtures.closed_port import unused_port
from tests.fixtures.commands import run_command
from tests.fixtures.records import jpeg


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with one photograph, and files that are not what they are taken for."""
    root = tmp_path_factory.mktemp("wrong")
    (root / "photos").mkdir()
    (root / "photos/1.jpg").write_bytes(jpeg(20, 20, seed=1))
    (root / "empty").mkdir()
    (root / "text.json").write_text("no json")
    (root / "list.json").write_text("[]")
    (root / "broken.zip").write_bytes(b"PK")
    truth = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 20, "height": 20}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (root / "truth.json").write_text(json.dumps(truth))
    (root / "model").mkdir()
    (root / "model/model.json").write_text("{}")
    (root / "strange").mkdir()
    (root / "strange/saved_model.pb").write_bytes(b"")
    (root / "closed").write_text("a file, no folder")
    return root


@pytest.fixture(scope="module")
def closed_proxy():
    """A proxy that takes no connection, so that no bucket is reached on any machine."""
    with unused_port() as port:
        yield f"http://127.0.0.1:{port}"


PREDICT = ("predict", "--model={root}/model", "--images={root}/photos", "--output={root}/out")
BATCH = ("predict_batch", *PREDICT[1:])
CHECK = ("check_dataset", "--dataset=coco_format", "--images=train={root}/photos")
EVALUATE = ("evaluate_detections", "--ground_truth={root}/truth.json", "--output={root}/out")
WRONG = [
    # Flags.
    (("predict",), "--images"),
    ((*PREDICT, "--score_treshold=0.5"), "did you mean --score_threshold?"),
    ((*PREDICT, "--score_threshold=2"), "--score_threshold=2"),
    ((*PREDICT, "--batch_size=0"), "--batch_size=0"),
    ((*PREDICT, "--precision=float16"), "should be one of"),
    ((*PREDICT, "--nonsense=1"), "there is no flag --nonsense"),
    ((*PREDICT, "photo.jpg"), "'photo.jpg' is not a flag; write --name=value"),
    ((*PREDICT, "--output=s3://bucket/x"), "addresses s3:// cannot be read or written"),
    ((*PREDICT, "--images=https://example.org/x.zip"), "copy what lies there to this machine"),
    ((*PREDICT, "--output=gs://"), "names no bucket"),
    # Places.
    (("predict", "--model=nowhere", *PREDICT[2:]), "nowhere: no such folder"),
    (("predict", "--model={root}/photos", *PREDICT[2:]), "photos is no model"),
    (PREDICT, "{root}/model"),
    (("predict", "--model={root}/strange", *PREDICT[2:]), "give --trust if you know who made it"),
    (("demo_server", "--model={root}/strange"), "give --trust if you know who made it"),
    ((*PREDICT, "--images={root}/none.mp4"), "{root}/none.mp4: no such file or folder"),
    ((*PREDICT, "--images=77"), "camera 77 cannot be opened"),
    ((*PREDICT, "--images={root}/none"), "{root}/none: no such file or folder"),
    ((*PREDICT, "--images={root}/empty"), "{root}/empty: no image found"),
    ((*PREDICT, "--images={root}/broken.zip"), "broken.zip: not a zip archive"),
    (("predict_batch", "--model=nowhere", *BATCH[2:]), "nowhere is not a model folder"),
    (BATCH, "{root}/model"),
    (("demo_server", "--model=nowhere"), "nowhere: no such folder"),
    (("export_onnx", "--model=nowhere", "--output={root}/onnx"), "nowhere is not a model folder"),
    (
        ("import_checkpoint", "--checkpoint={root}/empty", "--output={root}/imported"),
        "{root}/empty",
    ),
    (
        ("evaluate", "--model={root}/model", "--images={root}/photos", "--output={root}/photos"),
        "{root}/photos holds files that this command did not write (1.jpg)",
    ),
    (
        ("evaluate", "--model=nowhere", "--images={root}/photos", "--output={root}/out"),
        "nowhere is not a model folder",
    ),
    # Data.
    ((*CHECK, "--annotations=train={root}/none.json"), "{root}/none.json"),
    ((*CHECK, "--annotations=train={root}/text.json"), "{root}/text.json"),
    ((*CHECK, "--annotations=train={root}/list.json"), "{root}/list.json"),
    ((*CHECK, "--annotations={root}/photos"), "name the files: --annotations=train=FILE"),
    ((*CHECK, "--annotations=val={root}/truth.json"), "--images says nothing of split 'val'"),
    (("check_dataset", "--images={root}/none"), "{root}/none"),
    (("check_dataset", "--images={root}/photos"), "{root}/photos"),
    (("split_dataset", "--output={root}/splits"), "give --annotations=FILE"),
    (
        ("split_dataset", "--annotations={root}/truth.json", "--output={root}/x", "--val=0"),
        "give --val more than 0",
    ),
    (
        ("split_dataset", "--annotations={root}/none.json", "--output={root}/splits"),
        "{root}/none.json",
    ),
    (("subset_dataset", "--annotations={root}/text.json", "--output={root}/few.json"), "text.json"),
    (("unpack_archives", "--archives={root}/*.tar", "--output={root}/images"), "{root}/*.tar"),
    ((*EVALUATE, "--detections={root}/none.json"), "{root}/none.json"),
    ((*EVALUATE, "--detections={root}/text.json"), "{root}/text.json"),
    (
        (*EVALUATE, "--detections={root}/list.json", "--images={root}/none"),
        "--images={root}/none: no such folder",
    ),
    (
        (*EVALUATE, "--detections={root}/list.json", "--image_ids=7"),
        "are not images of the ground truth",
    ),
    (
        (*EVALUATE, "--detections={root}/list.json", "--image_ids=/dev/null"),
        "--image_ids=/dev/null is a device, not a file",
    ),
    ((*EVALUATE, "--detections={root}/list.json", "--output={root}/closed/x"), "{root}/closed"),
    # Experiments.
    (("show_config",), "give --config=FILE"),
    (("show_config", "--config=configs/none.py"), "this project has configs/"),
    (("show_config", "--explain=finetune.stepz"), "did you mean finetune.steps?"),
    (("estimate", "--config=configs/demo.py", "--machine=laptop"), "--machine=laptop is none of"),
    (("run_ablation", "--config.finetune.epochs=3"), "a trial's length is given as finetune.steps"),
    (
        (
            *("estimate", "--config=configs/demo.py", "--config.finetune.epochs=3"),
            "--config.data.finetune.annotations.train={root}/none.json",
        ),
        "data.finetune",
    ),
    (("run_ablation", "--output=gs://bucket/x"), "give a folder on this machine"),
    (("generate_demo_data", "--output={root}/closed/x"), "{root}/closed"),
    (("generate_demo_data", "--output={root}/x", "--image_size=3"), "is not two numbers"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_one_message_with_culprit_and_remedy(places, arguments, message):
    command, *flags = (argument.format(root=places) for argument in arguments)
    done = run_command(command, *flags, status=2)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message.format(root=places) in done.stderr.partition("error: ")[2]
    assert not done.has_tensorflow  # It takes many seconds to import.


UNREACHABLE = [
    (("predict", "--model=gs://bucket/model", *PREDICT[2:]), "--model=gs://bucket/model"),
    ((*PREDICT, "--images=gs://bucket/photos"), "--images=gs://bucket/photos"),
    (("predict_batch", "--model=gs://bucket/model", *BATCH[2:]), "--model=gs://bucket/model"),
    (
        ("check_dataset", "--images=train=gs://bucket/x,val={root}/photos"),
        "--images=gs://bucket/x",
    ),
    (
        (*EVALUATE[:2], "--output=gs://bucket/out", "--detections={root}/list.json"),
        "--output=gs://bucket/out",
    ),
    (("demo_server", "--model=gs://bucket/model"), "--model=gs://bucket/model"),
    (
        ("show_config", "--config=configs/demo.py", "--config.finetune.recipe=gs://bucket/run"),
        "gs://bucket/run",
    ),
    (
        (
            *("run_pipeline", "--config=configs/demo.py", "--pipeline_root={root}/run"),
            *("--config.data.finetune.images.train=gs://bucket/x", "--nocache"),
        ),
        "data.finetune.images.train=gs://bucket/x",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), UNREACHABLE)
def test_a_bucket_that_cannot_be_reached(places, closed_proxy, arguments, message):
    command, *flags = (argument.format(root=places) for argument in arguments)
    done = run_command(command, *flags, status=2, environment={"https_proxy": closed_proxy})
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert f"{message}: no connection to storage.googleapis.com through the proxy" in lines[0]
    assert "copy what lies there to this machine" in lines[0]
    assert not done.has_tensorflow


def test_forty_of_them():
    assert len(WRONG) >= 40


def test_what_a_config_is_told_is_not_asked_for(closed_proxy):
    """A job file whose data are in a bucket is written without a network."""
    done = run_command(
        "show_config",
        "--config=configs/none.py:gs://bucket/data",
        status=2,
        environment={"https_proxy": closed_proxy},
    )
    assert "configs/none.py" in done.stderr
    assert "no connection" not in done.stderr
