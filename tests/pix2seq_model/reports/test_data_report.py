"""The report on a data set: its numbers, its pictures of defects, and that it is one file."""

import collections
import re
import shutil

import numpy as np
import pytest

from pix2seq_model.data.manifest import read_dataset_info, read_statistics
from pix2seq_model.errors import DataError
from pix2seq_model.reports import data_pictures
from pix2seq_model.reports.data_report import render_data_report, write_data_report
from pix2seq_model.reports.drawing import class_color
from tests.fixtures.browser import ask_page, needs_browser
from tests.fixtures.small_conversion import convert
from tests.fixtures.small_dataset import SmallDataset, image_bytes

NUM_IMAGES, CROWDED = 20, 110
RED = np.array([214, 40, 40])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A train split with defects and one image of 130 objects, and a clean val split."""
    folder = tmp_path_factory.mktemp("data")
    train, val = SmallDataset(NUM_IMAGES), SmallDataset(3, first_id=500)
    train.content["categories"][1]["name"] = val.content["categories"][1]["name"] = "<b>box</b>"
    box = train.boxes(CROWDED)[0]
    for number in range(128):
        new = {**box, "id": 9000 + number, "bbox": [number / 8, 1, 3, 3], "category_id": 2}
        train.content["annotations"].append(new)
    del train.files["pictures/103.jpg"]
    train.boxes(104)[0]["bbox"] = [-4, 2, 20, 10]
    train.content["annotations"].append({**train.boxes(105)[0], "id": 1})
    train.boxes(106)[0]["iscrowd"] = 1
    train.files["pictures/107.jpg"] = image_bytes(7, mode="CMYK")
    sources = {"train": train.write(folder / "t"), "val": val.write(folder / "v")}
    convert(folder, sources, num_shards={"train": 2})
    return folder / "out"


@pytest.fixture(scope="module")
def page(folder):
    return render_data_report(folder)


def words(page):
    """The page's text, without its pictures and charts."""
    text = re.sub(r"<(style|svg).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(text.split())


def test_counts(page):
    text = words(page)
    assert "train 20 19 0 169 166 1 2" in text
    assert "val 3 3 0 6 6 0 1" in text
    assert "image missing no such file in any of the known layouts dropped 1 (5.00 %) –" in text
    assert "annotation duplicate" in text
    assert "image reencoded" in text
    assert "box clipped" in text


def test_sequence_lengths(page):
    text = words(page)
    assert "half of the images need at most 10, 95 % at most 650" in text
    assert "1 image has more than the 100 objects that one sequence holds" in text
    assert "leaves out 30 boxes each time" in text
    assert "No image has more than the 100 objects" in text  # of val


def test_classes_and_what_is_shown_of_them(page):
    assert "ring" in page
    assert "<b>box" not in page
    assert "&lt;b&gt;box&lt;/b&gt;" in page
    for title in ("objects per image", "sequence lengths", "box sizes", "aspect ratios", "centres"):
        assert f"train: {title}" in page
        assert f"val: {title}" in page


def test_one_file_and_always_the_same(folder, page):
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "<script" not in page
    assert page == render_data_report(folder)


def test_written_whole_next_to_the_records(folder, tmp_path):
    before = set(folder.iterdir())
    path = write_data_report(folder)
    assert path == str(folder / "data_report.html")
    assert set(folder.iterdir()) - before == {folder / "data_report.html"}
    elsewhere = write_data_report(folder, tmp_path / "x.html")
    assert (folder / "data_report.html").read_text() == (tmp_path / "x.html").read_text()
    assert elsewhere == str(tmp_path / "x.html")


@needs_browser
@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_the_screen_and_shows_its_pictures(page, width, tmp_path):
    (tmp_path / "report.html").write_text(page)
    answer = ask_page(
        tmp_path / "report.html",
        """({
          needed: document.documentElement.scrollWidth,
          pictures: [...document.images].map((image) => image.naturalWidth),
          charts: [...document.querySelectorAll("svg")].map((svg) => svg.clientWidth),
          holes: [...document.querySelectorAll(".rows figure")].map((figure) => {
            const image = figure.querySelector("img"), style = getComputedStyle(figure);
            if (!image) return 0;
            const room = figure.clientWidth - parseFloat(style.paddingLeft) * 2;
            const shown = image.clientHeight * image.naturalWidth / image.naturalHeight;
            return Math.max(room - image.clientWidth, Math.abs(image.clientWidth - shown));
          }),
          heights: [...document.querySelectorAll(".rows img")].map((image) =>
            [Math.round(image.getBoundingClientRect().top), image.clientHeight]),
        })""",
        width=width,
        folder=tmp_path,
    )
    assert answer["needed"] <= width
    # Samples of both splits; the clipped, the repeated box, and the CMYK image.
    assert len(answer["pictures"]) == 12 + 3 + 3
    assert min(answer["pictures"]) > 100
    # No strip of nothing next to a portrait; the pictures of a row are of one height.
    assert max(answer["holes"]) <= 2
    rows = collections.defaultdict(list)
    for top, height in answer["heights"]:
        rows[top].append(height)
    assert max(max(row) - min(row) for row in rows.values()) <= 2
    assert len(answer["charts"]) == 12
    assert min(answer["charts"]) > 100


def test_defects_are_drawn_where_they_are(folder):
    info = read_dataset_info(folder)
    found = data_pictures.defect_examples(folder, "train", info.splits["train"], count=3)
    assert found["image_missing"][0]["picture"] is None
    assert found["annotation_of_dropped_image"][0]["image"] == "103"
    assert len(found["annotation_of_dropped_image"]) == 2
    (clipped,) = found["box_clipped"]
    assert (clipped["image"], clipped["annotation"]) == ("104", "1040")
    pixels = np.asarray(clipped["picture"]).astype(int)
    is_red = np.abs(pixels - RED).max(axis=-1) < 60
    # The box given was x -4 to 16 of 32, y 2 to 12 of 24: its lower edge is drawn half across.
    row = is_red[round(pixels.shape[0] * 12 / 24) - 3 : round(pixels.shape[0] * 12 / 24) + 4]
    left, right = np.split(row.any(axis=0), [pixels.shape[1] // 2 + 6])
    assert left.mean() > 0.15  # dashed
    assert not right.any()


def test_no_more_examples_of_a_rule_than_asked_for(folder):
    info = read_dataset_info(folder)
    found = data_pictures.defect_examples(folder, "train", info.splits["train"], count=1)
    assert {rule: len(examples) for rule, examples in found.items()} == dict.fromkeys(
        (
            *("image_missing", "image_reencoded", "annotation_of_dropped_image"),
            *("annotation_duplicate", "box_clipped"),
        ),
        1,
    )


def test_samples_are_the_first_of_the_split(folder):
    info = read_dataset_info(folder)
    assert len(data_pictures.sample_pictures(folder, info, "val", count=99)) == 3
    (sample,) = data_pictures.sample_pictures(folder, info, "val", count=1)
    assert re.fullmatch(r"50\d.jpg", sample.file_name)
    assert sample.objects == "2 objects"
    assert max(sample.picture.size) == 480


def test_pictures_count_as_the_charts_do(folder):
    """A crowd is no object in either, and is said; the key has every box's class and colour."""
    info = read_dataset_info(folder)
    samples = {
        sample.file_name: sample
        for sample in data_pictures.sample_pictures(folder, info, "train", count=99)
    }
    per_image = read_statistics(folder)["train"]["objects_per_image"]
    counted = collections.Counter(s.objects.split(" ")[0] for s in samples.values())
    assert counted == {number: images for number, images in per_image.items() if images}
    crowd = samples["106.jpg"]
    assert crowd.objects.endswith(", 1 crowd")
    assert sum(number for *_, number in crowd.key) == int(crowd.objects.split(" ")[0]) + 1
    for name, color, _ in crowd.key:
        (number,) = [c["id"] for c in info.categories if c["name"] == name]
        assert color == "rgb({}, {}, {})".format(*class_color(number))


def test_tags_do_not_hide_a_crowded_picture(folder, monkeypatch):
    """Of 130 objects the outlines alone are drawn, of two their names as well."""
    tags = {}

    def draw_boxes(image, boxes, **how):
        tags[len(boxes)] = {box.text for box in boxes}
        return image

    monkeypatch.setattr(data_pictures.drawing, "draw_boxes", draw_boxes)
    data_pictures.sample_pictures(folder, read_dataset_info(folder), "train", count=99)
    assert tags[130] == {""}
    assert "" not in tags[2]


def test_the_page_says_its_data_and_their_place(folder, page):
    name = read_dataset_info(folder).name
    assert f"<title>Data report: {name} in {folder}</title>" in page
    assert f"<dd>{folder}</dd>" in page


def test_what_is_learned_from_comes_first(page):
    assert page.index('id="train"') < page.index('id="val"')


def test_few_images_are_counted_in_whole_numbers(page):
    """Of three images a chart has no axis with halves, rounded to 0, 0, 1, 1, 2."""
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    (chart,) = [chart for chart in charts if "<title>val: objects per image" in chart]
    axis = [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", chart) if text.strip()]
    assert axis.count("0") <= 2, axis  # One of each axis.
    assert axis.count("1") <= 2, axis


def test_without_statistics(folder, tmp_path):
    (tmp_path / "dataset_info.json").write_bytes((folder / "dataset_info.json").read_bytes())
    with pytest.raises(DataError, match=r"statistics.json cannot be read.*convert"):
        render_data_report(tmp_path)


@pytest.mark.parametrize("damaged", ["{", "[]", '{"image": "1"}'])
def test_a_damaged_dead_letter_is_named_and_the_others_are_shown(folder, tmp_path, capsys, damaged):
    shutil.copytree(folder, tmp_path / "copy")
    path = next(
        p for p in sorted((tmp_path / "copy").glob("dead_letter/**/*train*")) if p.is_file()
    )
    path.write_text(f"{damaged}\n{path.read_text()}")
    info = read_dataset_info(folder)
    split = info.splits["train"]
    found = data_pictures.defect_examples(tmp_path / "copy", "train", split, count=1)
    assert found.keys() == data_pictures.defect_examples(folder, "train", split, count=1).keys()
    assert f"{path}" in (said := capsys.readouterr().err)
    assert "the line is not shown" in said
