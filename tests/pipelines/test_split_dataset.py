"""The command as a person runs it."""

import json

import pytest

from tests.fixtures.commands import run_command

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


@pytest.fixture
def labels(tmp_path):
    """Ten images of a cat each, of which the first has a dog too; in two files."""
    paths = []
    for name in ("a", "b"):
        content = {
            "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(5)],
            "annotations": [{"id": n, "image_id": n, "category_id": 1} for n in range(5)],
            "categories": CATEGORIES,
        }
        if name == "a":
            content["annotations"].append({"id": 9, "image_id": 0, "category_id": 2})
        (tmp_path / "images" / name).mkdir(parents=True)
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(content))
    return paths


def test_two_files_are_joined_renamed_and_split(labels, tmp_path):
    (tmp_path / "classes.json").write_text('{"cat": "pet"}')
    done = run_command(
        "split_dataset",
        "--annotations=" + ",".join(map(str, labels)),
        f"--images={tmp_path}/images/a,{tmp_path}/images/b",
        f"--output={tmp_path}/out",
        f"--classes={tmp_path}/classes.json",
        "--val=0.2",
    )
    train, val = (json.loads((tmp_path / f"out/{n}.json").read_text()) for n in ("train", "val"))
    assert [len(part["images"]) for part in (train, val)] == [8, 2]
    assert [row["name"] for row in val["categories"]] == ["pet", "dog"]
    names = {row["file_name"] for part in (train, val) for row in part["images"]}
    assert names == {f"{folder}/{n}.jpg" for folder in "ab" for n in range(5)}
    assert f"file names are below {tmp_path}/images" in done.stdout
    assert "has no box of dog; leave the class out with --classes" in done.stdout


def test_splits_that_are_there_are_not_joined_without_a_word(tmp_path):
    splits = {"train": range(6), "test": range(6, 10)}
    for name, numbers in splits.items():
        (tmp_path / "exported" / name).mkdir(parents=True)
        content = {
            "images": [{"id": n, "file_name": f"{n}.jpg"} for n in numbers],
            "annotations": [{"id": n, "image_id": n, "category_id": n % 2 + 1} for n in numbers],
            "categories": CATEGORIES,
        }
        path = tmp_path / "exported" / name / "_annotations.coco.json"
        path.write_text(json.dumps(content))
    warning = "has the splits train, test already"
    flags = (f"--images={tmp_path}/exported", f"--output={tmp_path}/out")
    assert f"warning: {tmp_path}/exported {warning}" in run_command("split_dataset", *flags).stdout
    # Without a name, or as train alone, everything is there to be dealt out.
    flags = (f"--images={tmp_path}/exported/train", f"--output={tmp_path}/out")
    assert "already" not in run_command("split_dataset", *flags).stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--val=0"], "--val=0.0 --test=0.0: give --val more than 0"),
        (["--val=0.5", "--test=0.5"], "leave something to train on"),
        (["--images=/nowhere"], "there is no such folder"),
        (["--images=/,/"], "--images names 2 folders and --annotations 1 files"),
        (["--classes=/nowhere.json"], "/nowhere.json: no such file"),
        (["--group_by=clip"], "no 'clip' to group by; it has file_name, id"),
        (["--val=0.9", "--group_by=folder"], "makes 1 groups, too few for the splits train, val"),
    ],
)
def test_what_cannot_be_done_is_named(labels, tmp_path, flags, message):
    done = run_command(
        "split_dataset",
        f"--annotations={labels[0]}",
        f"--output={tmp_path}/out",
        *flags,
        status=2,
    )
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
