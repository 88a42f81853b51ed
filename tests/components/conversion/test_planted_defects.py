"""Every defect, alone and with all others, ends in its rule's count; the rest is untouched."""

import dataclasses
import io
import os
import zipfile
from collections import Counter

import numpy as np
import pytest
from google.api_core.exceptions import ServiceUnavailable
from PIL import Image

from components.conversion import examine
from components.storage import image_store
from pipelines.local.stage_errors import find_user_error
from pix2seq_model.data.defects import DROPPED_IMAGES, EXPLANATIONS
from pix2seq_model.errors import UnavailableError
from tests.fixtures.small_conversion import (
    convert,
    dead_letters,
    found_rules,
    read_split,
)
from tests.fixtures.small_dataset import HEIGHT, WIDTH, SmallDataset, image_bytes

# ---- Defects: name, what is done to image 100 + n, the rules that must count it, ids touched ----


def plant_missing(data, i):
    del data.files[f"pictures/{i}.jpg"]


def plant_bytes(content):
    def plant(data, i):
        data.files[f"pictures/{i}.jpg"] = content(data.files[f"pictures/{i}.jpg"])

    return plant


def plant_image(**change):
    def plant(data, i):
        row = data.image(i)
        row.update(change)
        for name in [name for name, value in change.items() if value is ...]:
            del row[name]

    return plant


def plant_box(**change):
    def plant(data, i):
        data.boxes(i)[0].update(change)

    return plant


def plant_url_for_name(data, i):
    row = data.image(i)
    row["coco_url"] = f"http://images.example.org/{row.pop('file_name')}"


def plant_id_again(data, i):
    data.content["images"].append({**data.image(i), "file_name": "pictures/other.jpg"})


def plant_row_again(data, i):
    data.content["images"].append(data.image(i))


def plant_other_name(data, i):
    data.files[f"pictures/{i}.JPG"] = data.files.pop(f"pictures/{i}.jpg")


def plant_two_that_fit(data, i):
    content = data.files.pop(f"pictures/{i}.jpg")
    data.files |= {f"images/{i}.jpg": content, f"data/{i}.jpg": content}


def plant_file_again(data, i):
    data.content["images"].append({**data.image(i), "id": 9000 + i})
    data.content["annotations"].append({**data.boxes(i)[0], "image_id": 9000 + i, "id": 1})


def plant_box_again(data, i):
    data.content["annotations"].append({**data.boxes(i)[0], "id": 77000 + i})


def plant_orphan(data, i):
    data.content["annotations"].append({**data.boxes(i)[0], "image_id": 8000 + i})


def plant_rows_of_other_kinds(data, i):
    data.content["images"].append("no object")
    data.content["annotations"].append(None)


def sixteen_bits(_):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


def noted(orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", options.get("size", (WIDTH, HEIGHT))).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def one_level(_):
    buffer = io.BytesIO()
    Image.new("I;16", (WIDTH, HEIGHT), 7).save(buffer, "TIFF")
    return buffer.getvalue()


GONE = {"annotation_of_dropped_image": 2}
PLANTS = [
    (plant_missing, {"image_missing": 1, **GONE}),
    (plant_bytes(lambda d: b"<html>"), {"image_not_decodable": 1, **GONE}),
    (plant_bytes(lambda d: b""), {"image_not_decodable": 1, **GONE}),
    (plant_bytes(lambda d: d[:-30]), {"image_truncated": 1, **GONE}),
    (plant_bytes(lambda d: image_bytes(1, size=(50, 60))), {"image_wrong_size": 1, **GONE}),
    (plant_image(height=25), {"image_wrong_size": 1, **GONE}),
    (plant_image(height=-3), {"image_size_missing": 1}),
    (plant_image(height="24", width="32"), {"image_size_missing": 1}),
    (plant_url_for_name, {"image_name_differs": 1}),
    (plant_image(file_name="../../x.jpg"), {"image_missing": 1, **GONE}),
    (plant_image(file_name=None), {"image_row_invalid": 1, **GONE}),
    (plant_image(height=..., width=...), {"image_size_missing": 1}),
    (
        plant_bytes(lambda d: image_bytes(1, image_format="PNG")),
        {"image_format_mismatch": 1},
    ),
    (plant_bytes(lambda d: image_bytes(1, mode="CMYK")), {"image_reencoded": 1}),
    (plant_bytes(sixteen_bits), {"image_reencoded": 1, "image_format_mismatch": 1}),
    (plant_bytes(lambda d: noted(6, size=(HEIGHT, WIDTH))), {"image_turned": 1}),
    (plant_bytes(lambda d: noted(3)), {"image_orientation_unclear": 1}),
    (
        plant_bytes(one_level),
        {"image_few_grey_levels": 1, "image_reencoded": 1, "image_format_mismatch": 1},
    ),
    (plant_bytes(lambda d: image_bytes(1, mode="L")), {}),
    (plant_id_again, {"image_duplicate_id": 2, **GONE}),
    (plant_row_again, {"image_duplicate_id": 1}),
    (plant_other_name, {"image_name_differs": 1}),
    (plant_two_that_fit, {"image_ambiguous": 1, **GONE}),
    (plant_file_again, {"image_duplicate_file": 1, "annotation_of_dropped_image": 1}),
    (plant_box(bbox=[1, 2, 3]), {"annotation_row_invalid": 1}),
    (plant_box(category_id=None), {"annotation_row_invalid": 1}),
    (plant_box(image_id=None), {"annotation_row_invalid": 1}),
    (plant_orphan, {"annotation_without_image": 1}),
    (plant_rows_of_other_kinds, {"image_row_invalid": 1, "annotation_row_invalid": 1}),
    (plant_box(category_id=5), {"category_unknown": 1}),
    (plant_box(bbox=[float("nan"), 1, 1, 1]), {"box_not_finite": 1}),
    (plant_box(bbox=[1, float("inf"), 1, 1]), {"box_not_finite": 1}),
    (plant_box(bbox=[1, 1, None, 1]), {"box_not_finite": 1}),
    (plant_box(bbox=[1, 1, 0, 5]), {"box_empty": 1}),
    (plant_box(bbox=[5, 5, -2, 5]), {"box_empty": 1}),
    (plant_box(bbox=[40, 1, 5, 5]), {"box_outside": 1}),
    (plant_box(bbox=[-4, -4, 10, 10]), {"box_clipped": 1}),
    (plant_box(area=None), {"area_from_box": 1}),
    (plant_box_again, {"annotation_duplicate": 1}),
    (plant_box(iscrowd=1), {}),
    (plant_box(isfake=1, isreflected=1), {}),
]
OPTIONAL = [
    (plant_box(isfake=1), "drop_fake", {"annotation_fake": 1}),
    (plant_box(isreflected=1), "drop_reflected", {"annotation_reflected": 1}),
]
TARGET = 103
LETTERLESS = {"area_from_box"}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    convert(folder, {"train": SmallDataset(len(PLANTS) + 4).write(folder)})
    return {image_id: record for image_id, (record, _) in read_split(folder).items()}


def check_planted(folder, info, expected, touched, clean, num_images):
    assert found_rules(info) == expected
    written = read_split(folder)
    lines = Counter(line["rule"] for line in dead_letters(folder))
    assert lines == {rule: n for rule, n in expected.items() if rule not in LETTERLESS}
    for image_id, (record, _) in written.items():
        if image_id not in touched:
            assert record == clean[image_id], f"image {image_id} was not touched by the defect"
    lost = sum(n for rule, n in expected.items() if rule in DROPPED_IMAGES)
    assert len(written) == info.splits["train"].counts["images"]["rows_in"] - lost
    untouched = {str(100 + n) for n in range(num_images)} - touched
    assert untouched <= set(written)


@pytest.mark.parametrize(("plant", "expected"), PLANTS)
def test_each_defect_alone(tmp_path, clean, plant, expected):
    data = SmallDataset(6)
    plant(data, TARGET)
    info = convert(tmp_path, {"train": data.write(tmp_path)})
    check_planted(tmp_path, info, expected, {str(TARGET)}, clean, 6)


def test_all_defects_together(tmp_path, clean):
    num_images = len(PLANTS) + 4
    data = SmallDataset(num_images)
    expected = Counter()
    for position, (plant, rules) in enumerate(PLANTS):
        plant(data, 100 + position)
        expected.update(rules)
    info = convert(tmp_path, {"train": data.write(tmp_path)}, num_shards={"train": 4})
    touched = {str(100 + n) for n in range(len(PLANTS))}
    check_planted(tmp_path, info, expected, touched, clean, num_images)


@pytest.mark.parametrize(("plant", "option", "expected"), OPTIONAL)
def test_objects365_marks_are_dropped_on_request(tmp_path, clean, plant, option, expected):
    data = SmallDataset(6)
    plant(data, TARGET)
    info = convert(tmp_path, {"train": data.write(tmp_path)}, **{option: True})
    check_planted(tmp_path, info, expected, {str(TARGET)}, clean, 6)


def test_pixels_are_checked_on_request(tmp_path, clean):
    data = SmallDataset(6)
    png = bytearray(image_bytes(1, image_format="PNG"))
    png[len(png) // 2 : len(png) // 2 + 30] = bytes(30)
    plant_bytes(lambda d: bytes(png))(data, TARGET)
    source = {"train": data.write(tmp_path)}
    assert found_rules(convert(tmp_path, source)) == {"image_format_mismatch": 1}
    info = convert(tmp_path, source, check_pixels=True)
    assert found_rules(info)["annotation_of_dropped_image"] == 2


def test_pixels_and_bytes_are_limited(tmp_path, clean, monkeypatch):
    data = SmallDataset(6)
    plant_bytes(lambda d: image_bytes(1, size=(HEIGHT, WIDTH + 1)))(data, TARGET)
    source = {"train": data.write(tmp_path)}
    expected = {"image_too_large": 1, **GONE}
    info = convert(tmp_path, source, max_pixels=HEIGHT * WIDTH)
    check_planted(tmp_path, info, expected, {str(TARGET)}, clean, 6)
    monkeypatch.setattr(examine, "_MAX_FILE_BYTES", max(map(len, data.files.values())))
    plant_bytes(lambda d: image_bytes(TARGET) + bytes(1000))(data, TARGET)
    info = convert(tmp_path, {"train": data.write(tmp_path)})
    check_planted(tmp_path, info, expected, {str(TARGET)}, clean, 6)


def test_every_rule_is_planted_somewhere():
    planted = {rule for _, rules in PLANTS for rule in rules}
    planted |= {rule for *_, rules in OPTIONAL for rule in rules}
    elsewhere = {
        "image_too_large",  # above
        "image_unreadable",  # below
        "image_in_several_splits",  # tests/components/conversion/test_conversion.py
    }
    assert planted | elsewhere == set(EXPLANATIONS)


def test_a_damaged_member_of_a_zip_archive(tmp_path, clean):
    data = SmallDataset(6)
    source = data.write(tmp_path)
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in data.files.items():
            archive.writestr(name, content)
    damaged = data.files[f"pictures/{TARGET}.jpg"]
    path.write_bytes(path.read_bytes().replace(damaged, damaged[:-50] + bytes(50), 1))
    info = convert(tmp_path, {"train": dataclasses.replace(source, images=str(path))})
    expected = {"image_unreadable": 1, **GONE}
    check_planted(tmp_path, info, expected, {str(TARGET)}, clean, 6)
    assert "wrong checksum" in dead_letters(tmp_path)[0]["detail"]


def test_names_that_lead_to_no_file(tmp_path):
    """A pipe would be waited for, a device never ends."""
    data = SmallDataset(7)
    names = [
        "pictures/a\0.jpg",
        "pictures/" + "a" * 300,
        "pipe.jpg",
        "self.jpg",
        "zero.jpg",
        "gone.jpg",
    ]
    for number, name in enumerate(names, start=100):
        data.image(number)["file_name"] = name
    source = data.write(tmp_path)
    os.mkfifo(tmp_path / "images/pipe.jpg")
    (tmp_path / "images/self.jpg").symlink_to("self.jpg")
    (tmp_path / "images/gone.jpg").symlink_to("nowhere")
    (tmp_path / "images/zero.jpg").symlink_to("/dev/zero")
    info = convert(tmp_path, {"train": source})
    assert found_rules(info)["image_missing"] == len(names)
    assert [*read_split(tmp_path)] == ["106"]


def test_an_image_that_cannot_be_read_now_is_lost_to_no_shard(tmp_path, clean, monkeypatch):
    def read(self, path):
        if path.endswith(f"{TARGET}.jpg") and errors:
            raise errors.pop()
        return original(self, path)

    errors, original = [ServiceUnavailable("try later")] * 4, image_store.ImageFolder.read
    monkeypatch.setattr(image_store.ImageFolder, "read", read)
    monkeypatch.setattr(image_store._retrying, "sleep", lambda seconds: None)
    source = {"train": SmallDataset(6).write(tmp_path)}
    with pytest.raises(
        Exception, match=r"103\.jpg in .* could not be read in 4 attempts"
    ) as failed:
        convert(tmp_path, source)  # Clusters repeat what raises; the runner of the tests does not.
    assert isinstance(find_user_error(failed.value), UnavailableError)
    assert not list((tmp_path / "out").glob("progress/train-*"))
    check_planted(tmp_path, convert(tmp_path, source), {}, set(), clean, 6)
