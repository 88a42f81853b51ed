"""The evaluation loop: every image once, the same after an interruption, the folder as promised."""

import io
import json
import shutil
import subprocess
import sys

import pytest

from pix2seq_model.data.annotations import parse_annotation_row
from pix2seq_model.data.ground_truth import SplitTruth, read_split_truth
from pix2seq_model.data.label_rules import apply_label_rules
from pix2seq_model.errors import DataError
from pix2seq_model.evaluation import evaluate as evaluation
from pix2seq_model.evaluation.detection import evaluate_network
from pix2seq_model.evaluation.evaluate import evaluate_model, with_categories_by_name
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.metrics.coco_files import (
    clipped_detections,
    read_detections,
    read_ground_truth,
    read_metrics,
)
from pix2seq_model.metrics.coco_metrics import METRIC_KEYS, evaluate_detections, number
from pix2seq_model.metrics.timing import read_timing
from pix2seq_model.model_folder.folder import read_model_info
from pix2seq_model.reports.evaluation_report import write_evaluation_report
from tests.fixtures.evaluated_model import (
    CATEGORIES,
    EXAMPLES,
    MAX_OBJECTS,
    write_examples,
    write_model,
)
from tests.fixtures.records import example, jpeg

# The weights are random: everything is sampled, and each image has MAX_OBJECTS objects.
SETTINGS = EvaluationSettings(
    batch_size=2, max_objects=MAX_OBJECTS, top_p=1.0, end_token_offset=-100.0, num_pictures=6
)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), finds_objects=True)


@pytest.fixture(scope="module", autouse=True)
def compiled_once(model_dir):
    """Decoding is compiled for each network: all tests share one."""
    loaded = evaluation.load_model_folder(str(model_dir))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "load_model_folder", lambda folder, precision: loaded)
        yield


@pytest.fixture(scope="module")
def examples_dir(tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def finished(model_dir, examples_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    stream = io.StringIO()
    metrics = evaluate_model(
        model_dir, examples_dir, split="val", settings=SETTINGS, output_dir=folder, stream=stream
    )
    return folder, metrics, stream.getvalue()


def test_the_folder_holds_truth_detections_attention_and_numbers(finished):
    folder, metrics, _ = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        *("attention.json", "attention.npz", "detections.json", "ground_truth.json"),
        *("metrics.json", "timing.json"),
    ]
    assert json.loads((folder / "metrics.json").read_text()) == metrics == read_metrics(folder)
    assert metrics["num_images"] == 5
    assert [row["name"] for row in metrics["per_class"]] == ["ring", "cross"]
    truth = json.loads((folder / "ground_truth.json").read_text())
    detections = json.loads((folder / "detections.json").read_text())
    again = evaluate_detections(truth, detections, engine="pycocotools")
    for key in METRIC_KEYS:
        assert metrics[key] == pytest.approx(again.metrics[key], abs=1e-9)


def test_boxes_lie_in_the_original_images_pixels(finished):
    folder, _, _ = finished
    truth = json.loads((folder / "ground_truth.json").read_text())
    sizes = {row["id"]: (row["width"], row["height"]) for row in truth["images"]}
    detections = json.loads((folder / "detections.json").read_text())
    assert {row["image_id"] for row in detections} == sizes.keys()
    assert {row["category_id"] for row in detections} <= {2, 3}
    reach = {image: [0.0, 0.0] for image in sizes}
    for row in detections:
        x, y, width, height = row["bbox"]
        far = reach[row["image_id"]]
        reach[row["image_id"]] = [max(far[0], x + width), max(far[1], y + height)]
    for image, far in reach.items():
        assert far[0] <= sizes[image][0] + 1e-3
        assert far[1] <= sizes[image][1] + 1e-3


def test_progress_and_facts_name_what_was_done(finished):
    _, metrics, progress = finished
    assert "evaluating on val: 5 images" in progress
    assert "5/5 (100%)" in progress
    assert "tiny, split val: 5 images" in metrics["facts"]["Data"]
    assert metrics["published"] is None


def test_the_time_of_an_image_is_stored_apart_from_what_was_found(
    finished, model_dir, examples_dir, tmp_path
):
    folder, metrics, _ = finished
    timing = read_timing(folder)
    # Of 5 images the first two, which compile, and the last one do not count.
    assert (timing.images, timing.batch_size, timing.backend) == (2, 2, "tensorflow")
    assert timing.milliseconds > 0
    assert "milliseconds" not in json.dumps(metrics)
    pages = [
        write_evaluation_report(
            folder, examples_dir=examples_dir, model_dir=model_dir, output_dir=tmp_path / name
        ).read_bytes()
        for name in ("one", "two")
    ]
    assert pages[0] == pages[1]  # What was measured once is shown, whenever it is rendered.
    assert b"<span>ms an image</span>" in pages[0]


def test_the_report_is_made_of_what_is_stored(finished, model_dir, examples_dir, tmp_path):
    folder, _, _ = finished
    path = write_evaluation_report(
        folder, examples_dir=examples_dir, model_dir=model_dir, output_dir=tmp_path / "report"
    )
    assert path == tmp_path / "report" / "report.html"
    page = path.read_text()
    for text in (
        *("tiny, val", "5 images", "Fine-tuning", "missing file", "ring", "data:image/"),
        "Given the true boxes, one by one",
    ):
        assert text in page


def test_a_report_needs_no_tensorflow(finished, model_dir, examples_dir, tmp_path):
    folder, _, _ = finished
    code = f"""
import sys
from pix2seq_model.reports.evaluation_report import write_evaluation_report
write_evaluation_report(
    {str(folder)!r}, examples_dir={str(examples_dir)!r}, model_dir={str(model_dir)!r},
    output_dir={str(tmp_path)!r},
)
assert not {{"keras", "tensorflow", "jax"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "report.html").exists()


def test_a_report_on_other_data_or_of_no_evaluation_is_refused(finished, model_dir, tmp_path):
    folder, _, _ = finished
    other = write_examples(tmp_path / "examples", EXAMPLES[:3])
    arguments = {"examples_dir": other, "model_dir": model_dir, "output_dir": tmp_path}
    with pytest.raises(DataError, match="evaluated on other data than"):
        write_evaluation_report(folder, **arguments)
    with pytest.raises(DataError, match="no finished evaluation"):
        write_evaluation_report(tmp_path, **arguments)


def test_a_short_evaluation_finds_the_same_in_the_first_images(model_dir, examples_dir, finished):
    folder, _, _ = finished
    truth = read_split_truth(examples_dir, "val")
    network, _ = evaluation.load_model_folder(str(model_dir), precision="float32")
    short = evaluate_network(network, truth, settings=SETTINGS, max_images=3)
    assert short.image_ids == [row["id"] for row in truth.coco["images"][:3]]
    assert short.result.num_images == 3
    rows = json.loads((folder / "detections.json").read_text())
    assert short.detections == [row for row in rows if row["image_id"] in short.image_ids]


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(
    model_dir, examples_dir, finished, tmp_path, monkeypatch
):
    folder, metrics, _ = finished
    batches = 0
    real_add = evaluation.DetectionStore.add

    def add_then_die(self, rows, image_ids):
        nonlocal batches
        real_add(self, rows, image_ids)
        self.flush()
        batches += 1
        if batches == 2:
            raise KeyboardInterrupt

    arguments = {"split": "val", "settings": SETTINGS}
    monkeypatch.setattr(evaluation.DetectionStore, "add", add_then_die)
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(model_dir, examples_dir, output_dir=tmp_path / "out", **arguments)
    monkeypatch.undo()
    assert not (tmp_path / "out" / "metrics.json").exists()

    stream = io.StringIO()
    again = evaluate_model(
        model_dir, examples_dir, output_dir=tmp_path / "out", stream=stream, **arguments
    )
    assert "continuing after 4" in stream.getvalue()
    assert {**again, "facts": None} == {**metrics, "facts": None}  # they hold the time
    written = (tmp_path / "out" / "detections.json").read_bytes()
    assert written == (folder / "detections.json").read_bytes()
    assert not (tmp_path / "out" / "unfinished").exists()


def test_the_batch_size_does_not_change_what_is_found(model_dir, examples_dir, finished, tmp_path):
    folder, _, _ = finished
    settings = EvaluationSettings(**{**vars(SETTINGS), "batch_size": 5, "num_pictures": 0})
    evaluate_model(model_dir, examples_dir, split="val", settings=settings, output_dir=tmp_path)
    ours, theirs = (
        json.loads((place / "detections.json").read_text()) for place in (tmp_path, folder)
    )
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs):
        assert (a["image_id"], a["category_id"]) == (b["image_id"], b["category_id"])
        assert a["bbox"] == pytest.approx(b["bbox"], abs=1e-3)
        assert a["score"] == pytest.approx(b["score"], abs=1e-5)


def test_detections_made_elsewhere_are_held_against_the_manifest_too(
    model_dir, examples_dir, finished, tmp_path
):
    folder, metrics, _ = finished
    rows = json.loads((folder / "detections.json").read_text())
    settings = EvaluationSettings(**{**vars(SETTINGS), "num_pictures": 0})
    arguments = {"split": "val", "settings": settings, "output_dir": tmp_path}

    def elsewhere(truth):
        return rows, list(truth.image_numbers)

    again = evaluate_model(model_dir, examples_dir, detect=elsewhere, **arguments)
    assert {key: again[key] for key in METRIC_KEYS} == {key: metrics[key] for key in METRIC_KEYS}
    with pytest.raises(DataError, match="1 were not decoded"):
        evaluate_model(
            model_dir,
            examples_dir,
            detect=lambda truth: (rows, list(truth.image_numbers)[1:]),
            **arguments,
        )


def test_categories_of_another_meaning_are_refused(model_dir, tmp_path):
    renamed = ({"id": 2, "name": "ring"}, {"id": 3, "name": "circle"})
    examples = write_examples(tmp_path / "examples", categories=renamed)
    with pytest.raises(DataError, match=r"category 3 is 'cross' to the model .* and 'circle'"):
        evaluate_model(
            model_dir, examples, split="val", settings=SETTINGS, output_dir=tmp_path / "out"
        )


def test_a_shard_that_is_gone_is_named(model_dir, examples_dir, tmp_path):
    examples = tmp_path / "examples"
    shutil.copytree(examples_dir, examples)
    gone = max(examples.glob("**/*.tfrecord"))
    gone.unlink()
    with pytest.raises(DataError, match=f"{gone}"):
        evaluate_model(
            model_dir, examples, split="val", settings=SETTINGS, output_dir=tmp_path / "out"
        )


def test_an_unknown_split_and_an_unfinished_folder_are_refused(model_dir, examples_dir, tmp_path):
    with pytest.raises(DataError, match=r"no split 'test'; it has \['val'\]"):
        evaluate_model(
            model_dir, examples_dir, split="test", settings=SETTINGS, output_dir=tmp_path
        )
    with pytest.raises(DataError, match="no finished evaluation"):
        read_metrics(tmp_path)


def test_the_data_sets_own_category_ids_come_back(model_dir, tmp_path):
    own = tuple({**row, "source_id": str(row["id"] - 1)} for row in CATEGORIES)
    examples = write_examples(tmp_path / "examples", EXAMPLES, categories=own)
    metrics = evaluate_model(
        model_dir, examples, split="val", settings=SETTINGS, output_dir=tmp_path / "out"
    )
    assert [row["id"] for row in metrics["per_class"]] == [1, 2]
    detections = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert detections
    assert {row["category_id"] for row in detections} <= {1, 2}


def test_published_evaluation_is_reported_beside_that_of_clipped_boxes(
    model_dir, examples_dir, finished, tmp_path
):
    changes = {"resize": "plain", "clip_boxes": False, "num_attention_pictures": 1}
    settings = EvaluationSettings(**{**vars(SETTINGS), **changes})
    metrics = evaluate_model(
        model_dir, examples_dir, split="val", settings=settings, output_dir=tmp_path
    )
    rows = read_detections(tmp_path / "detections.json", allow_negative=True)
    truth = read_ground_truth(tmp_path / "ground_truth.json")
    assert min(side for row in rows for side in row["bbox"][2:]) < 0
    clipped = clipped_detections(rows, truth["images"])
    assert metrics["AP"] == pytest.approx(evaluate_detections(truth, rows).metrics["AP"])
    ap = evaluate_detections(truth, clipped).metrics["AP"]
    assert metrics["other_AP"] == {"boxes clipped to the image": pytest.approx(ap)}
    assert "without antialias" in metrics["facts"]["Images"]
    # Where the image is resized by a whole number both ways give the same, and the same is found.
    usual = read_detections(finished[0] / "detections.json")
    of_whole_number = (
        [row for row in found if row["image_id"] == 203] for found in (clipped, usual)
    )
    for one, other in zip(*of_whole_number, strict=True):
        assert one["bbox"] == pytest.approx(other["bbox"], abs=1e-3)
    page = write_evaluation_report(
        tmp_path, examples_dir=examples_dir, model_dir=model_dir, output_dir=tmp_path
    ).read_text()
    assert f"with boxes clipped to the image: <strong>{number(ap)}</strong>" in page
    assert "takes decoding again" in page


# x, y, width, height and category of each image's objects, crowds last; images are 60 x 40.
_FILE = {
    1: [((30, 4, 60, 16), 2, 0)],  # Its right half lies beyond the image.
    2: [((15, 10, 30, 20), 3, 0), ((0, 0, 60, 40), 3, 1)],
    3: [((6, 8, 10, 10), 4, 0), ((6, 8, 10, 10), 4, 0)],  # Listed twice.
    4: [((6, 8, 10, 10), 5, 0), ((20, 8, 0, 10), 5, 0)],  # One has no area.
}


def test_the_annotation_file_and_the_records_differ_where_records_are_cleaned(model_dir, tmp_path):
    names = {2: "ring", 3: "cross", 4: "dot", 5: "bar"}
    categories = [{"id": number, "name": name} for number, name in names.items()]
    annotations = [
        {"id": 10 * image_id + n, "image_id": image_id, "category_id": category_id}
        | {"bbox": list(box), "area": box[2] * box[3], "iscrowd": crowd}
        for image_id, objects in _FILE.items()
        for n, (box, category_id, crowd) in enumerate(objects)
    ]
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 40, "width": 60} for i in _FILE]
    file = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "file.json").write_text(json.dumps(file))

    records = []
    for image_id in _FILE:
        rows = [row for row in annotations if row["image_id"] == image_id]
        objects, _ = apply_label_rules(
            [parse_annotation_row(row, n) for n, row in enumerate(rows)],
            image_id=str(image_id),
            height=40,
            width=60,
            categories={str(number): (number, name) for number, name in names.items()},
            seed=0,
        )
        kept = sorted(objects, key=lambda thing: thing.is_crowd)
        crowd = [n for n, thing in enumerate(kept) if thing.is_crowd]
        boxes = [(thing.box_yxyx, thing.label) for thing in kept]
        records.append(example(str(image_id), boxes, encoded=jpeg(60, 40, seed=1), crowd=crowd))
    examples = write_examples(tmp_path / "examples", records, categories=categories)

    def every_object(truth):
        found = read_split_truth(examples, "val").coco["annotations"]
        keys = ("image_id", "category_id", "bbox")
        rows = [{key: row[key] for key in keys} | {"score": 0.9} for row in found]
        return rows, list(truth.image_numbers)

    def ap(ground_truth):
        settings = EvaluationSettings(num_pictures=0, ground_truth=ground_truth)
        metrics = evaluate_model(
            model_dir,
            examples,
            split="val",
            settings=settings,
            output_dir=tmp_path / "out",
            detect=every_object,
        )
        return {row["name"]: row["AP"] for row in metrics["per_class"]}

    assert ap("") == pytest.approx(dict.fromkeys(names.values(), 1.0))
    # Half of the ring is outside: found at IoU 0.5 alone. Of two dots and bars one is found.
    half = 51 / 101
    expected = {"ring": 0.1, "cross": 1.0, "dot": half, "bar": half}
    assert ap(str(tmp_path / "file.json")) == pytest.approx(expected)


def test_categories_of_other_ids_are_known_by_their_names(tmp_path):
    def truth(*names):
        rows = [{"id": 10 * n, "name": name} for n, name in enumerate(names, start=1)]
        return SplitTruth("data", "val", {"categories": rows}, {}, {})

    info = read_model_info(str(write_model(tmp_path / "model")))
    found = with_categories_by_name(truth("cross ", "other", "ring"), info, model_dir="m")
    assert found.category_numbers == {3: 10, 2: 30}
    with pytest.raises(DataError, match="knows cross, ring, the data data have cat: no name"):
        with_categories_by_name(truth("cat"), info, model_dir="m")
    with pytest.raises(DataError, match="categories 10 and 20 are both called 'ring'"):
        with_categories_by_name(truth("ring", "ring"), info, model_dir="m")
