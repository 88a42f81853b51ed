"""Labels of any format as a COCO file: what cannot be used is a row with its reason."""

import json
from pathlib import Path

import pytest
from PIL import Image

from components.labels.coco_file import write_coco_file
from components.labels.label_sets import LabelSet
from components.storage import image_store
from components.storage.image_store import open_store
from pix2seq_model.data.annotation_file import read_annotation_file
from pix2seq_model.data.defects import DefectLimits
from pix2seq_model.data.formats.labelled_image import LabelledBox, LabelledImage
from pix2seq_model.errors import UnavailableError

ANY = DefectLimits(max_dropped_images=1.0, max_dropped_annotations=1.0)


class Given(LabelSet):
    """Labels that a test gives."""

    format, title = "given", "Given"

    def __init__(self, images, class_names=None, *, repeats=False):
        self._given, self.class_names, self.repeats_images = images, class_names or {}, repeats
        self.left_out = {}

    @classmethod
    def is_in(cls, folder):
        return True

    def read(self, split):
        return iter(self._given)


def written(tmp_path, labels):
    store = open_store(str(tmp_path))
    path = write_coco_file(labels, "train", store=store, output=str(tmp_path), name="l/t.json")
    return path, json.loads(Path(path).read_text())


def test_fractions_need_the_size_of_the_image_as_it_is_shown(tmp_path):
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # Shown 20 wide and 40 high.
    image.save(tmp_path / "turned.jpg", exif=exif)
    boxes = [LabelledBox("cat", (0.5, 0.25, 1.0, 0.5))]
    images = [LabelledImage("turned.jpg", boxes=boxes, in_fractions=True)]
    _, content = written(tmp_path, Given(images))
    assert content["annotations"][0]["bbox"] == [10, 10, 10, 10]
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (20, 40)


def test_nothing_is_lost_without_a_reason(tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("RGB", (10, 10)).save(tmp_path / "sound.png")
    box = LabelledBox("cat", (0.0, 0.0, 0.5, 0.5))
    images = [
        LabelledImage("damaged.png", boxes=[box], in_fractions=True),
        LabelledImage("missing.png", boxes=[box], in_fractions=True),
        LabelledImage("unread.png", problem="unread.xml: no XML"),
        LabelledImage(
            "sound.png",
            boxes=[LabelledBox("", problem="line 3: no class 9"), box],
            in_fractions=True,
        ),
    ]
    path, content = written(tmp_path, Given(images))
    assert len(content["images"]) == 4
    assert len(content["annotations"]) == 4
    file = read_annotation_file(path, limits=ANY)
    assert file.counts["images"]["dropped"] == {"image_row_invalid": 1}
    assert file.counts["annotations"]["dropped"] == {"annotation_row_invalid": 3}
    assert len(file.coco["annotations"]) == 1
    assert "sound.png: line 3: no class 9" in Path(path).read_text()


def test_a_size_that_cannot_be_read_now_is_no_defect(tmp_path, monkeypatch):
    def read(self, path):
        raise OSError("no network")

    Image.new("RGB", (10, 10)).save(tmp_path / "sound.png")
    monkeypatch.setattr(image_store.ImageFolder, "read", read)
    monkeypatch.setattr(image_store._retrying, "sleep", lambda seconds: None)
    boxes = [LabelledBox("cat", (0.0, 0.0, 0.5, 0.5))]
    with pytest.raises(UnavailableError, match=r"sound\.png"):
        written(tmp_path, Given([LabelledImage("sound.png", boxes=boxes, in_fractions=True)]))


@pytest.mark.parametrize("repeats", [False, True])
def test_an_image_that_comes_in_parts(repeats, tmp_path):
    parts = [LabelledImage("a.png", 5, 5, [LabelledBox("cat", (0, 0, 1, 1))]) for _ in range(2)]
    _, content = written(tmp_path, Given(parts, repeats=repeats))
    assert len(content["images"]) == (1 if repeats else 2)
    assert len(content["annotations"]) == 2


def test_classes_have_their_numbers_or_their_names(tmp_path):
    images = [LabelledImage("a.png", 5, 5, [LabelledBox(n, (0, 0, 1, 1)) for n in ("dog", "cat")])]
    _, content = written(tmp_path, Given(images))
    assert content["categories"] == [{"id": n, "name": n} for n in ("cat", "dog")]
    listed = {0: "cat", 1: "bird", 2: "dog"}
    _, content = written(tmp_path, Given(images, listed))
    assert content["categories"] == [{"id": i, "name": n} for i, n in listed.items()]
    assert [row["category_id"] for row in content["annotations"]] == [2, 0]


def test_no_images(tmp_path):
    _, content = written(tmp_path, Given([]))
    assert content == {"images": [], "annotations": [], "categories": []}
