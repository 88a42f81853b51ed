import pytest

from pix2seq_model.data.formats.yolo import parse_data_yaml, parse_name_list, parse_yolo

NAMES = {0: "cat", 3: "dog"}
LAUGHS = (
    "a0: &a0 [x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    + "names: *a9\n"
)
NO_VALUES = ('!!int ""', "!!bool x", "!!timestamp x", '!!float ""', "9" * 5000, "2020-99-99")


def corners(line, **options):
    (box,) = parse_yolo(line, NAMES, **options)
    assert not box.problem
    return box.label, pytest.approx(box.corners)


def test_a_box():
    assert corners("\ufeff3 0.5 0.5 0.2 0.4\r\n\n") == ("dog", (0.4, 0.3, 0.6, 0.7))


def test_a_polygon_is_its_box():
    assert corners("0 0.1 0.2 0.5 0.9 0.3 0.4") == ("cat", (0.1, 0.2, 0.5, 0.9))
    # Corners of a turned box.
    assert corners("0 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5") == ("cat", (0.1, 0.1, 0.9, 0.9))


def test_key_points_behind_a_box():
    line = "0 0.5 0.5 0.2 0.4 0.1 0.1 2 0.9 0.9 2"
    assert corners(line, num_keypoints=6) == ("cat", (0.4, 0.3, 0.6, 0.7))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1 0.5 0.5 0.2 0.4", "line 1: no class 1; there are 2"),
        ("0.5 0.5 0.5 0.2 0.4", "no class 0.5"),
        ("cat 0.5 0.5 0.2 0.4", "'cat' is not a number"),
        ("0 0.5 0.5 0.2", "4 numbers are no box and no polygon"),
        ("0 0.5 0.5 0.2 0.4 0.9", "a detection with its confidence"),
        ("0 320 240 100 50", "no fractions of the image's sides"),
        ("0 0.5 nan 0.2 0.4", "'nan' is not a number"),
    ],
)
def test_lines_that_cannot_be_used(line, problem):
    (box,) = parse_yolo(line, NAMES)
    assert problem in box.problem


def test_data_yaml():
    assert parse_data_yaml("names: [cat, dog]\ntrain: x")["names"] == {0: "cat", 1: "dog"}
    assert parse_data_yaml("names:\n  0: cat\n  3: dog")["names"] == NAMES
    for text in ("names", "a: 1", "{", "- 1"):
        assert parse_data_yaml(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("names: []", "names are empty"),
        ("names: 5", "write a list"),
        ("names: {a: cat}", "write a list, or numbers"),
        ("names: [cat, dog, cat]", "'cat' twice"),
        # What Python cannot hold, and what PyYAML has no error of its own for.
        ("names: " + "[" * 5000, "nested more than 20 deep"),
        ("names:\n" + "- " * 5000 + "cat", "nested more than 20 deep"),
        ("names: " + "[" * 300_000, "nested more than 20 deep"),
        (LAUGHS, r"an alias \(\*name\) of a list or mapping: write out"),
        ("a: &a [*a]\nnames: [cat]", r"an alias \(\*name\) of a list or mapping: write out"),
        ("a: *b\nnames: [cat]", "undefined alias"),
        (f"a: &a {'x' * 1000}\nnames: [{'*a, ' * 1100}]", "stand for more than 1,048,576 char"),
        ("names: [cat]\n" + "x" * (1 << 20), "has 1,048,589 characters"),
        *((f"nc: {value}\nnames: [cat]", "no YAML") for value in NO_VALUES),
        (f"names: 0x{'f' * 5000}", "names are a number of 6,020 digits"),
        (f"names: {{{'x' * 500}: cat}}", "names are {'xxx"),
    ],
)
def test_names_that_cannot_be_used(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_data_yaml(text)


@pytest.mark.parametrize(
    "text",
    [
        "x: &a [1]\ny: *a\n",
        "x: &a {b: 1}\ny:\n  <<: *a\n",
        f"x: {'[' * 30}{']' * 30}\n",
        f"x: {'x' * (1 << 20)}\n",
        "x: !Ref y\n",
        "---\nx: 1\n---\n",
    ],
)
def test_files_of_other_programs(text):
    """Their names are not at the top."""
    assert parse_data_yaml(f"{text}z:\n  names: [q]\n") is None


def test_values_that_are_named_twice():
    text = "path: &p ../d\ntrain: *p\nval: *p\nnames: {0: &c cat, 1: dog}\nmain: *c\n"
    names = {0: "cat", 1: "dog"}
    places = dict.fromkeys(("path", "train", "val"), "../d")
    assert parse_data_yaml(text) == {**places, "names": names, "main": "cat"}


def test_names_that_yaml_would_take_for_other_things():
    assert parse_data_yaml("names: [yes, no, 1.0, 007]")["names"] == dict(
        enumerate(["yes", "no", "1.0", "007"])
    )


def test_names_in_a_file():
    assert parse_data_yaml("names: obj.names")["names"] == "obj.names"


def test_yaml_with_tabs():
    with pytest.raises(ValueError, match=r"no YAML .*line 2, column 1.*tabs must be spaces"):
        parse_data_yaml("names:\n\t0: cat\n")
    assert parse_data_yaml("a:\tb:\n\tc") is None


def test_a_list_of_names_keeps_its_numbers():
    assert parse_name_list("\ufeffcat\r\n\r\nred bus\r\n\r\n") == {0: "cat", 2: "red bus"}
    with pytest.raises(ValueError, match="'cat' twice"):
        parse_name_list("cat\ncat\n")
    # Counted once, not for each name.
    with pytest.raises(ValueError, match="'99999' twice"):
        parse_name_list("\n".join(map(str, range(100_000))) + "\n99999")
