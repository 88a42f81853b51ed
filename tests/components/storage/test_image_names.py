"""Names as annotation files spell them, against the names that are there."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.storage.image_names import (
    PARTIAL,
    WHOLE,
    NameIndex,
    match_name,
    name_parts,
    plain_name,
    same_name_key,
)


def match(file_name, *paths, **split):
    return match_name(file_name, NameIndex(paths), **split)


@pytest.mark.parametrize(
    ("file_name", "parts"),
    [
        ("a/b.jpg", ["a", "b.jpg"]),
        ("./a//b.jpg", ["a", "b.jpg"]),
        (r"..\..\media\upload\b.jpg", ["media", "upload", "b.jpg"]),
        (r"C:\Users\me\b.jpg", ["Users", "me", "b.jpg"]),
        ("/home/me/b.jpg", ["home", "me", "b.jpg"]),
        ("https://x.org:80/a/b%20c.jpg?w=3#top", ["a", "b c.jpg"]),
        ("gs://bucket/a/b.jpg", ["a", "b.jpg"]),
        ("file:///a/b.jpg", ["a", "b.jpg"]),
        ("https://x.org/o/images%2Fb.jpg", ["o", "images", "b.jpg"]),
        ("/data/local-files/?d=images/b.jpg", ["images", "b.jpg"]),
        ("100%.jpg", ["100%.jpg"]),
        ("%E9.jpg", ["%E9.jpg"]),  # Latin-1: which letter it is, nothing says.
        ("", []),
    ],
)
def test_parts(file_name, parts):
    assert name_parts(file_name) == parts


@pytest.mark.parametrize(
    ("file_name", "path"),
    [
        ("IMG_1.jpg", "IMG_1.JPG"),
        ("Images/a.jpg", "images/a.jpg"),
        (r"images\a.jpg", "images/a.jpg"),
        ("images/a.jpg", r"images\a.jpg"),
        ("Capture_d%C3%A9cran%201.jpg", "Capture_décran 1.jpg"),
        ("a b.jpg", "a%20b.jpg"),
        (
            unicodedata.normalize("NFC", "Zürich é.jpg"),
            unicodedata.normalize("NFD", "Zürich é.jpg"),
        ),
        ("/home/me/data/a.jpg", "a.jpg"),
        ("/home/me/train/a.jpg", "images/train/a.jpg"),
        ("http://images.cocodataset.org/train2017/a.jpg", "train2017/a.jpg"),
        ("a.jpg", "site1/a.jpg"),
        # Label Studio's name of an upload.
        ("../label-studio/media/upload/1/0123abcd-a.jpg", "site1/a.jpg"),
        (r"images\0123abcd-a b.jpg", "a b.jpg"),
    ],
)
def test_other_spellings(file_name, path):
    found = match(file_name, path, "else.jpg")
    assert (found.path, found.rule) == (path, "image_name_differs")
    assert found.detail.startswith(f"{file_name} is {path}")
    assert same_name_key(file_name) == same_name_key(path)


@pytest.mark.parametrize(
    ("file_name", "paths", "rank"),
    [
        ("a.jpg", ["images/a.jpg", "b.jpg"], WHOLE),
        ("images/a.jpg", ["a.jpg"], PARTIAL),
        ("videoB/a.jpg", ["a.jpg"], PARTIAL),
        ("images/a.jpg", ["holiday/a.jpg"], PARTIAL),  # The archive's own folder.
        ("a.jpg", ["holiday/a.jpg", "holiday/x/b.jpg"], WHOLE),
        ("a/b.jpg", ["a/b.jpg", "c/b.jpg"], WHOLE),
        ("a.jpg", ["a.jpg", "images/a.jpg"], WHOLE),
        ("A.jpg", ["x/A.jpg", "x/a.jpg"], WHOLE),
    ],
)
def test_spelled_as_in_the_file(file_name, paths, rank):
    found = match(file_name, *paths)
    assert (found.path, found.rank, found.rule) == (paths[0], rank, "")


@pytest.mark.parametrize(
    ("file_name", "paths", "rule", "detail"),
    [
        ("videoB/a.jpg", ["videoA/a.jpg"], "image_missing", "; there is videoA/a.jpg"),
        ("batch2/a.jpg", ["batch1/a.jpg", "x.jpg"], "image_missing", "; there is batch1/a.jpg"),
        ("002/a.jpg", ["001/a.jpg"], "image_missing", "; there is 001/a.jpg"),
        ("patch2/a.jpg", ["patch1/a.jpg"], "image_missing", "; there is patch1/a.jpg"),
        ("train/a.jpg", ["val/a.jpg"], "image_missing", "; there is val/a.jpg"),
        ("/me/videoB/a.jpg", ["videoA/a.jpg"], "image_missing", "; there is videoA/a.jpg"),
        ("a.png", ["masks/a.png", "images/b.png"], "image_missing", "; there is masks/a.png"),
        ("a.png", ["a.jpg", "labels/a.txt"], "image_missing", "a.png; there is a.jpg"),
        ("Capture_decran.jpg", ["Capture_décran.jpg"], "image_missing", "is Capture_décran.jpg"),
        ("a.jpg", ["A.jpg", "a.JPG"], "image_ambiguous", "a.jpg may be A.jpg or a.JPG"),
        (
            "a.jpg",
            ["x/images/a.jpg", "x/data/a.jpg"],
            "image_ambiguous",
            "x/data/a.jpg or x/images",
        ),
        (
            "a.jpg",
            ["site1/a.jpg", "site2/a.jpg"],
            "image_missing",
            "is site1/a.jpg and site2/a.jpg",
        ),
        ("nothing.jpg", ["a.jpg"], "image_missing", "nothing.jpg"),
        ("nothing.jpg", [], "image_missing", "nothing.jpg"),
    ],
)
def test_what_is_not_certain_is_refused_with_the_names_that_are_there(
    file_name, paths, rule, detail
):
    found = match(file_name, *paths)
    assert (found.path, found.rule) == ("", rule)
    assert detail in found.detail


@pytest.mark.parametrize(
    "folders", [("train", "val"), ("Train", "Validation"), ("train2017", "val2017")]
)
def test_the_folder_of_the_split(folders):
    train, val = (f"images/{folder}/a.jpg" for folder in folders)
    both = {"splits": ["train", "val"]}
    assert match("a.jpg", train, val, split="train", **both).path == train
    assert match("a.jpg", train, val, split="val", **both).path == val
    assert match("a.jpg", train, split="val", **both).rule == "image_missing"
    # Not a folder of another split here, but of a file of the whole set.
    assert match("a.jpg", train, split="val", splits=["val"]).path == train
    assert match(f"{folders[0]}/a.jpg", train, val, split="val", **both).path == train


def test_the_name_in_the_record():
    assert plain_name("http://x.org/train2017/a.jpg") == "train2017/a.jpg"
    assert plain_name(r"images\a.jpg") == r"images\a.jpg"


@given(st.lists(st.text(min_size=1, max_size=12), max_size=8), st.text(max_size=12))
def test_any_names(paths, file_name):
    found = match(file_name, *paths)
    assert found.path in ("", *paths)
    assert bool(found.path) == (found.rule in ("", "image_name_differs"))


def test_names_that_look_the_same_are_told_apart():
    composed, decomposed = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    assert match(composed, decomposed).detail.endswith("in another of Unicode's normal forms")
    assert match("A.jpg", "a.jpg").detail == "A.jpg is a.jpg"


def test_the_digits_of_an_upload_count_where_they_are_there():
    found = match("images/0123abcd-a.jpg", "a.jpg", "images/0123abcd-a.jpg")
    assert (found.path, found.rule) == ("images/0123abcd-a.jpg", "")
    found = match("0123abcd-a.jpg", "x/a.jpg", "y/a.jpg", "b.jpg")
    assert found.path == ""
    # Not eight digits, so part of the name.
    assert match("0123abc-a.jpg", "a.jpg").rule == "image_missing"
