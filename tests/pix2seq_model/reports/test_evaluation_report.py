"""The report: everything in one file, right in words and numbers, usable in a real browser."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.data.manifest import DatasetInfo, SplitInfo
from pix2seq_model.decoding.attention_maps import ImageAttention, ObjectAttention
from pix2seq_model.metrics.coco_files import checked_detections, checked_ground_truth
from pix2seq_model.metrics.coco_metrics import evaluate_detections
from pix2seq_model.metrics.timing import Timing
from pix2seq_model.model_folder.folder import HISTORY_FOLDER
from pix2seq_model.reports.evaluation_report import ReportInput, read_histories, render_report
from tests.fixtures.browser import ask_page, needs_browser

NAMES = {1: "apple", 2: "<b>pear</b>", 3: "quince"}


def encoded(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def attention(image_id):
    """Two objects found and a box that was given, as a network would see them."""
    maps = np.random.default_rng(image_id).random((5, 4, 4), np.float32)
    box = (0.1, 0.1, 0.6, 0.5)
    return ImageAttention(
        image_id=image_id,
        image_size=(64, 64),
        content_size=(48, 64),
        found=tuple(
            ObjectAttention(name=f"<i>{name}</i>", score=0.75, box_yxyx=box, maps=maps)
            for name in ("apple", "pear")
        ),
        given=(ObjectAttention(name="quince", score=0.5, box_yxyx=box, maps=maps[-1:]),),
    )


def report_input(**changes):
    truth = checked_ground_truth(
        {
            "images": [{"id": i, "file_name": f"deep/{i}.png"} for i in range(1, 7)],
            "categories": [{"id": i, "name": name} for i, name in NAMES.items()],
            "annotations": [
                {"image_id": i, "category_id": 1 + i % 2, "bbox": [5, 5, 30, 40]}
                for i in range(1, 6)
            ],
        }
    )
    detections = checked_detections(
        [
            {"image_id": i, "category_id": 1 + (i % 2 if i < 4 else 0), "bbox": b, "score": s}
            for i, b, s in [
                (1, [5, 5, 30, 40], 0.9),
                (2, [5, 5, 30, 38], 0.8),
                (3, [5, 5, 30, 15], 0.7),
                (5, [5, 5, 30, 40], 0.6),
                (6, [50, 5, 20, 20], 0.5),
            ]
        ]
    )
    counts = {"rows_in": 7, "written": 6, "dropped": {"missing_file": 1}, "changed": {}}
    split = SplitInfo(
        num_examples=6,
        num_objects=5,
        num_bytes=1_234_567,
        shards=(),
        counts={"images": counts, "annotations": {}},
    )
    fields = {
        "title": "A title & more",
        "facts": {"Model": "small"},
        "ground_truth": truth,
        "detections": detections,
        "result": evaluate_detections(truth, detections),
        "histories": {
            "pretrain": [{"step": s, "loss": 9 - s / 100} for s in range(800)],
            "finetune": [{"step": 10, "loss": 1.5}],
        },
        "dataset": DatasetInfo(
            name="fruit",
            seed=0,
            categories=tuple({"id": i, "name": name} for i, name in NAMES.items()),
            splits={"val": split},
        ),
        "read_images": lambda image_ids: {i: encoded(i) for i in image_ids},
        "num_pictures": 6,
        "attention": [attention(1), attention(2)],
        **changes,
    }
    return ReportInput(**fields)


@pytest.fixture(scope="module")
def page():
    return render_report(report_input())


def test_the_page_needs_no_other_file(page):
    addresses = re.findall(r'(?:src|href)="([^"]{1,30})', page)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "@import" not in page
    assert "url(http" not in page


def test_numbers_and_words_are_on_it(page):
    for text in (
        "A title &amp; more",
        "Pretraining",
        "Fine-tuning",
        "&lt;b&gt;pear&lt;/b&gt;",
        "1 image dropped: missing file",
        "1.2 MB",
        "localisation",
        "1.png: 1 of 1 found, 0 wrong",
        "6.png: no objects, ",
        "&lt;i&gt;apple&lt;/i&gt; 0.75",
        "quince 0.50",
    ):
        assert text in page, text
    assert "<b>pear" not in page
    assert "published" not in page
    assert f"<b>{report_input().result.metrics['AP']:.3f}</b>" in page


def test_the_time_of_an_image_and_the_settings_stand_where_they_are_known(page):
    assert "ms an image" not in page
    timing = Timing(
        milliseconds=12.34, images=100, batch_size=8, backend="jax", device="1 x NVIDIA L4"
    )
    settings = {"finetune.steps": 400, "evaluation.top_p": 0.4}
    timed = render_report(report_input(timing=timing, settings=settings, num_pictures=0))
    assert "<b>12.3</b><small>of the model, 8 at a time; jax on 1 x NVIDIA L4</small>" in timed
    assert '<tr><td>finetune.steps</td><td class="text">400</td></tr>' in timed


def test_published_numbers_stand_next_to_ours_only_where_given():
    page = render_report(report_input(published=(0.442, "ViT-B at 640 px"), num_pictures=0))
    assert "published: <strong>0.442</strong> (ViT-B at 640 px)" in page


def test_a_report_of_nothing_can_be_written():
    truth = checked_ground_truth(
        {"images": [{"id": 1}], "categories": [{"id": 1, "name": "a"}], "annotations": []}
    )
    page = render_report(
        ReportInput(
            title="nothing",
            facts={},
            ground_truth=truth,
            detections=[],
            result=evaluate_detections(truth, []),
        )
    )
    assert "No detection found an object" in page
    assert "<b>-</b>" in page


def test_an_image_that_cannot_be_read_is_left_out():
    def read(image_ids):
        return {i: b"broken" if i == 1 else encoded(i) for i in image_ids if i != 2}

    page = render_report(report_input(read_images=read))
    assert page.count('<div class="pair') == 4


def test_loss_curves_are_in_the_order_of_the_stages_but_for_cut_lines(tmp_path):
    assert read_histories(tmp_path) == {}
    folder = tmp_path / HISTORY_FOLDER
    folder.mkdir()
    (folder / "finetune.jsonl").write_text('{"step": 10, "loss": 1.5}\n{"step": 20, "lo')
    (folder / "pretrain.jsonl").write_text('{"step": 5, "loss": 3}\n')
    histories = read_histories(tmp_path)
    assert list(histories) == ["pretrain", "finetune"]
    assert histories["finetune"] == [{"step": 10, "loss": 1.5}]


@needs_browser
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_the_screen_and_shows_its_pictures(page, width, tmp_path):
    (tmp_path / "report.html").write_text(page)
    answer = ask_page(
        tmp_path / "report.html",
        """({
          width: window.innerWidth, needed: document.documentElement.scrollWidth,
          pictures: [...document.images].map((image) => image.naturalWidth),
          charts: [...document.querySelectorAll("svg")].map((svg) => svg.clientWidth),
          hint: getComputedStyle(document.querySelector(".gallery > h3"), "::after").content,
          shadows: [...document.querySelectorAll(".scroll.sideways")]
            .map((box) => getComputedStyle(box).backgroundImage.includes("gradient")),
        })""",
        width=width,
        folder=tmp_path,
    )
    assert answer["width"] == width
    assert answer["needed"] <= width
    # Six pairs; and for two images two objects of five pictures and one given box.
    assert len(answer["pictures"]) == 12 + 2 * (2 * 5 + 1)
    assert min(answer["pictures"]) > 0
    assert len(answer["charts"]) == 8
    assert min(answer["charts"]) > 250
    # A phone shows that there is more beside what is seen.
    is_narrow = width == 400
    assert ("swipe" in answer["hint"]) == is_narrow
    assert answer["shadows"]
    assert set(answer["shadows"]) == {is_narrow}


@needs_browser
def test_the_table_of_classes_sorts(page, tmp_path):
    (tmp_path / "report.html").write_text(page)
    answer = ask_page(
        tmp_path / "report.html",
        """(() => {
          const table = document.querySelector("table.sortable");
          const column = (k) => [...table.tBodies[0].rows].map((row) => row.cells[k].textContent);
          const press = (k) => table.tHead.rows[0].cells[k].firstElementChild.click();
          const result = [];
          press(0); result.push(column(0));
          press(0); result.push(column(0));
          press(1); result.push(column(1));
          press(1); result.push(column(1));
          result.push(table.tHead.rows[0].cells[1].getAttribute("aria-sort"));
          return result;
        })()""",
        width=800,
        folder=tmp_path,
    )
    assert answer[0] == ["<b>pear</b>", "apple"]
    assert answer[1] == ["apple", "<b>pear</b>"]
    assert answer[2] == ["3", "2"]
    assert answer[3] == ["2", "3"]
    assert answer[4] == "ascending"
