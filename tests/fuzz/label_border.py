"""The files of labelling tools: each damaged input is one of them in a folder that is whole."""

from pathlib import Path

from components.labels.layout import open_labels, recognise
from pix2seq_model.errors import UserError
from tests.fixtures.label_exports import labelme_json, voc_xml, yolo_lines

_NAMES = "names: [cat, dog, red bus]\n"
_YAML = f"train: images\nval: [images]\nkpt_shape: [17, 3]\nnc: 3\n{_NAMES}"
_BOXES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
    'one,xclick,/m/1,1,0.1,0.5,0.2,0.6,0\n"two",xclick,/m/2,1,0.1,0.5,0.2,0.6,1\n'
)
_CLASSES = '/m/1,Cat\n/m/2,"Dog, small"\n'
_TASKS = (
    '[{"id": 1, "data": {"image": "/data/upload/1/0123abcd-one.png"}, "annotations": [{"result": '
    '[{"type": "rectanglelabels", "original_width": 40, "original_height": 20, "value": {"x": 1, '
    '"y": 2, "width": 30, "height": 4, "rectanglelabels": ["cat"]}}]}]}]'
)
# The files of a folder by its format; each of them is damaged in its turn.
_FOLDERS = {
    "yolo": {"data.yaml": _YAML, "labels/one.txt": yolo_lines("one")},
    "darknet": {"obj.names": "cat\ndog\nred bus\n", "one.txt": "0 0.1 0.1 0.5 0.1 0.5 0.5\n"},
    "voc": {
        "Annotations/one.xml": voc_xml("one"),
        "ImageSets/Main/train.txt": "one\n",
    },
    "labelme": {"one.json": labelme_json("one")},
    "open_images": {"train-annotations-bbox.csv": _BOXES, "class-descriptions.csv": _CLASSES},
    "label_studio": {"tasks.json": _TASKS},
}
# Lines of their own, so that they do what they can wherever they are put.
LABEL_WORDS = (
    *(b"\nb: " + b"[" * 3000 + b"\n", b"\nb: &b [*b, *b]\n", b'\nb: !!int ""\n', b"\nnames: 5\n"),
    *(b"x" * 140_000, b'\n"', b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"<object>", b"&b;"),
    *(b"\n0 0.5 0.5 0.2 0.4\n", b'"shapes": [', b'"result": [', b"\n/m/1,"),
)


def label_files() -> list[bytes]:
    """Inputs: a line that says which file of which folder it is, then its content."""
    return [
        f"{folder}/{name}\n{content}".encode()
        for folder, files in _FOLDERS.items()
        for name, content in files.items()
    ]


def hostile_label_files() -> list[bytes]:
    """What a parser for people's files was not made for."""
    references = "".join(f"b{n}: &b{n} [*b{n - 1}, *b{n - 1}, *b{n - 1}]\n" for n in range(1, 20))
    entities = "".join(f"<!ENTITY b{n} '{f'&b{n - 1};' * 10}'>" for n in range(1, 10))
    contents = {
        "yolo/data.yaml": (
            f"{_YAML}b: {'[' * 5000}",
            f"names: {'{a: ' * 5000}",
            f"b0: &b0 [x]\n{references}names: {{*b19: cat}}",
            f"b0: &b0 [x]\n{references}names: {{a: *b19}}",
            f'{_YAML}b: !!int ""\n',
            f"{_YAML}names: {'x/' * 3000}",
        ),
        "open_images/train-annotations-bbox.csv": (f'{_BOXES}"{"x" * 140_000}',),
        "open_images/class-descriptions.csv": (f'{_CLASSES}"{"x" * 140_000}',),
        "voc/Annotations/one.xml": (
            f"<annotation>{'<object>' * 3000}",
            f"<!DOCTYPE a [<!ENTITY b0 'b'>{entities}]><annotation>&b9;</annotation>",
        ),
        "yolo/labels/one.txt": ("9" * 5000 + " 0.5" * 4, f"{'1' * 400} 0.5 0.5 0.2 0.4"),
    }
    return [f"{place}\n{text}".encode() for place, texts in contents.items() for text in texts]


def read_labels(data: bytes, folder: Path) -> None:
    """Writes the folder with this file in the place of its own, and reads all labels in it."""
    place, _, content = data.partition(b"\n")
    kind, _, damaged = place.decode("utf-8", "replace").partition("/")
    for name, whole in _FOLDERS.get(kind, _FOLDERS["yolo"]).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if name == damaged else whole.encode())
    images = folder if kind in ("darknet", "labelme") else folder / "images"
    images.mkdir(exist_ok=True)
    for stem in ("one", "two"):
        (images / f"{stem}.png").touch()
    for split, source in recognise(str(folder)).splits.items():
        for image in open_labels(source).read(split):
            _check_short(image.problem)
            for box in image.boxes:
                _check_short(box.problem)


def _check_short(problem: str) -> None:
    """It becomes a line of a report, whatever the file holds."""
    assert len(problem) < 2000, f"{len(problem)} characters: {problem:.100}"


def read_labels_shortly(data: bytes, folder: Path) -> None:
    """As `read_labels`, and a message is one too."""
    try:
        read_labels(data, folder)
    except UserError as error:
        _check_short(str(error))
        raise
