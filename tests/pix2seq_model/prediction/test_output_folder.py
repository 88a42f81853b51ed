"""What the folder of results holds at each moment, and whose it is."""

import json

import pytest
from etils import epath

from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.prediction.output_folder import OutputFolder
from tests.fixtures.epath_bucket import epath_bucket

LINE = {
    "id": 3,
    "file_name": "a.jpg",
    "width": 8,
    "height": 6,
    "detections": [{"image_id": 3, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}],
    "csv": "a.jpg,3\n",
    "files": ["pictures/a.jpg.jpg"],
}


def _run(place, *, finish=True, **options):
    output = OutputFolder(place, **options)
    output.check()
    output.begin(model="m")
    output.add(LINE)
    output.write("pictures/a.jpg.jpg", b"picture")
    output.add({"location": "b.jpg", "error": "damaged"})
    if finish:
        output.finish({1: "cat"}, complete=True)
    return output


def test_lists_are_made_of_the_lines(tmp_path):
    _run(tmp_path / "out", formats=("coco", "csv", "yolo"))
    read = {path.name: path.read_text() for path in (tmp_path / "out").glob("*.*")}
    assert json.loads(read["detections.json"]) == LINE["detections"]
    images = json.loads(read["images.json"])
    assert images["images"] == [{"id": 3, "file_name": "a.jpg", "width": 8, "height": 6}]
    assert images["categories"] == [{"id": 1, "name": "cat"}]
    assert json.loads(read["unreadable.json"]) == [{"file": "b.jpg", "reason": "damaged"}]
    assert read["detections.csv"].endswith("height\na.jpg,3\n")
    assert read["classes.txt"] == "cat\n"
    marker = json.loads(read["predict.json"])
    assert marker["made_by"] == "pix2seq predict"
    assert (marker["model"], marker["complete"]) == ("m", True)


def test_what_was_done_is_there_when_a_run_is_killed(tmp_path):
    _run(tmp_path, finish=False)
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == LINE
    assert len(lines) == 2


@pytest.mark.parametrize("damaged", [b"{no json", b'{"id": NaN}', b"\xff{}", b"[]"])
def test_a_damaged_line_is_named_and_drops_no_image(tmp_path, damaged):
    """Only the last line, cut by a kill, may be passed over."""
    output = OutputFolder(tmp_path)
    output.check()
    output.begin()
    for image in (1, 2, 3):
        output.add({**LINE, "id": image, "files": [f"{image}.jpg"]})
    lines = (tmp_path / "results.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "results.jsonl").write_bytes(b"".join([damaged + b"\n", *lines[1:]]))
    with pytest.raises(DataError, match=r"results\.jsonl, line 1, .*again, with --overwrite"):
        output.finish({}, complete=True)
    assert not (tmp_path / "detections.json").exists()
    # What the message says works; files of the other lines are known as this command's.
    for image in (1, 2, 3):
        (tmp_path / f"{image}.jpg").write_text("")
    with pytest.raises(DataError, match=r"1 file .*\(1\.jpg\).*--overwrite"):
        OutputFolder(tmp_path).check()
    _run(tmp_path, overwrite=True)
    assert len(json.loads((tmp_path / "images.json").read_text())["images"]) == 1


def test_a_cut_last_line_is_passed_over(tmp_path):
    output = _run(tmp_path, finish=False)
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"id": 4, "fi')
    output.finish({}, complete=False)
    assert json.loads((tmp_path / "detections.json").read_text()) == LINE["detections"]


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_with_its_image(tmp_path, score):
    output = OutputFolder(tmp_path)
    output.check()
    output.begin()
    with pytest.raises(DataError, match=r"in 'a\.jpg' has a number that is not finite"):
        output.add({**LINE, "detections": [{"score": score}]})
    assert (tmp_path / "results.jsonl").read_text() == ""


def test_an_earlier_run_is_replaced_and_nothing_else(tmp_path):
    for finish in (False, True, True):
        _run(tmp_path, finish=finish)
    # Half a line, as of a killed run.
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"id": 4, "fi')
    output = OutputFolder(tmp_path)
    output.check()
    output.begin()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "predict.json",
        "results.jsonl",
    ]


@pytest.mark.parametrize("name", ["notes.txt", "pictures/mine.jpg", "detections.json"])
def test_what_the_command_did_not_write_is_refused(tmp_path, name):
    if name != "detections.json":
        _run(tmp_path)
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match=f"did not write .*{name}.*--overwrite"):
        OutputFolder(tmp_path).check()
    assert (tmp_path / name).read_text() == "mine"
    _run(tmp_path, overwrite=True)
    assert name == "detections.json" or (tmp_path / name).read_text() == "mine"


def test_what_systems_leave_in_a_folder_stays(tmp_path):
    names = (".DS_Store", "pictures/@eaDir/a.jpg", ".ipynb_checkpoints/x.py")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    for _ in range(2):
        _run(tmp_path)
    assert all((tmp_path / name).exists() for name in names)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_to_be_read_is_not_removed(tmp_path, overwrite):
    folder = tmp_path / "out"
    _run(folder)
    (tmp_path / "link.jpg").symlink_to(folder / "pictures/a.jpg.jpg")
    output = OutputFolder(folder, overwrite=overwrite)
    for place in (folder / "pictures/a.jpg.jpg", tmp_path / "link.jpg"):
        with pytest.raises(DataError, match=rf"{place} was written by an earlier run to {folder}"):
            output.check(["camera 0", str(tmp_path / "none.jpg"), str(place)])
    output.check(["image 1", str(tmp_path / "gone.jpg")])


def test_a_link_to_a_folder_is_somebody_elses(tmp_path):
    folder = tmp_path / "out"
    _run(folder)
    (tmp_path / "elsewhere").mkdir()
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"holds 1 file .*\(more\)"):
        OutputFolder(folder).check()
    _run(folder, overwrite=True)
    assert (folder / "more").is_symlink()


def test_a_folder_in_a_bucket(tmp_path, monkeypatch):
    with epath_bucket(monkeypatch, tmp_path):
        for _ in range(2):
            _run("gs://data/out")
        assert len((tmp_path / "data/out/results.jsonl").read_text().splitlines()) == 2
        assert json.loads((tmp_path / "data/out/detections.json").read_text())
        (tmp_path / "data/out/pictures/mine.txt").write_text("")
        with pytest.raises(DataError, match=r"holds 1 file .*\(pictures/mine\.txt\)"):
            OutputFolder("gs://data/out").check()


def test_a_file_of_a_bucket_that_is_to_be_read_is_not_removed(tmp_path):
    _run(tmp_path)
    output = OutputFolder(tmp_path)
    own = output._own_files()
    output.place = epath.Path("gs://bucket/out")
    with pytest.raises(DataError, match="copy the file out of it"):
        output._refuse_inputs(["gs://bucket/a.jpg", "gs://bucket/out/pictures/a.jpg.jpg"], own)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file/out cannot be written"):
        OutputFolder(tmp_path / "file" / "out").check()
    with pytest.raises(ConfigError, match="format=xml: choose of coco, yolo, csv"):
        OutputFolder(tmp_path, formats=("xml",))


def test_names_that_are_too_long_for_a_file(tmp_path):
    output = OutputFolder(tmp_path)
    first, second = (output.path_of("pictures", f"a/{'ü' * 200}{n}.jpg", ".jpg") for n in (1, 2))
    assert first != second
    output.write(first, b"x")
    assert output.path_of("pictures", "a/b.png", ".jpg") == "pictures/a/b.png.jpg"


def test_names_with_more_folders_than_a_path_may_have(tmp_path):
    output = OutputFolder(tmp_path)
    first, second = (output.path_of("pictures", f"{'a/' * n}x.jpg", ".jpg") for n in (1500, 1501))
    assert first != second
    output.write(first, b"x")
    assert first.endswith("/x.jpg.jpg")


def test_files_of_others_are_not_removed(tmp_path):
    """Lists of formats that were not asked for, and whatever lines of a changed file name."""
    folder = tmp_path / "out"
    _run(folder)
    for name in ("classes.txt", "detections.csv", "../mine.txt"):
        (folder / name).write_text("mine")
    with (folder / "results.jsonl").open("a") as file:
        file.write(json.dumps({"files": ["../mine.txt", str(tmp_path / "mine.txt")]}) + "\n")
    OutputFolder(folder, overwrite=True).begin()
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {"classes.txt", "detections.csv", "mine.txt", "predict.json", "results.jsonl"}


@pytest.mark.parametrize("text", ["{}", "no json", '{"made_by": "me"}', "[1]"])
def test_a_file_of_that_name_makes_no_folder_ours(tmp_path, text):
    (tmp_path / "predict.json").write_text(text)
    with pytest.raises(DataError, match="did not write"):
        OutputFolder(tmp_path).check()


def test_names_that_are_no_text(tmp_path):
    output = OutputFolder(tmp_path, formats=("coco", "csv"))
    output.check()
    output.begin()
    output.add({**LINE, "file_name": "caf\udce9.jpg", "csv": "caf\udce9.jpg,3\n", "files": []})
    output.finish({1: "cat"})
    assert b"caf\xe9.jpg,3" in (tmp_path / "detections.csv").read_bytes()
    (image,) = json.loads((tmp_path / "images.json").read_text())["images"]
    assert image["file_name"] == "caf\udce9.jpg"
