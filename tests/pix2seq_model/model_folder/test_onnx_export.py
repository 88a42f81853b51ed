"""An exported model finds what the network finds, without Keras and TensorFlow."""

import dataclasses
import errno
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from etils import epath
from etils.epath import gpath
from PIL import Image

from pix2seq_model.api import load
from pix2seq_model.atomic_write import write_json
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import ConfigError, ModelError
from pix2seq_model.model_folder import onnx_export, onnx_folder
from pix2seq_model.model_folder.onnx_export import export_onnx
from pix2seq_model.model_folder.onnx_graphs import convert_network
from pix2seq_model.network import blocked_attention
from pix2seq_model.onnx_runner.decoder import decode
from pix2seq_model.onnx_runner.detector import OnnxDetector
from pix2seq_model.prediction import image_detector
from pix2seq_model.prediction.image_detector import ImageDetector
from pix2seq_model.prediction.image_sources import find_images
from pix2seq_model.prediction.predict import predict
from pix2seq_model.tokens.vocabulary import CLASS_SHIFT, NOISE_CLASS
from tests.fixtures import tiny_model
from tests.fixtures.epath_bucket import epath_bucket
from tests.fixtures.evaluated_model import CATEGORIES, write_model
from tests.fixtures.records import jpeg

ROOT = Path(__file__).resolve().parents[3]
BATCH_SIZE = 3
# As the model is exported, to name something of its flat distributions.
DECODING = {"top_p": 0.9, "seed": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder: the model, its export, and photographs without loss."""
    folder = tmp_path_factory.mktemp("onnx")
    # Numbers of its own, as of an annotation file whose ids are not the tokens'.
    categories = tuple({**row, "source_id": 10 * row["id"]} for row in CATEGORIES)
    write_model(folder / "model", categories=categories, finds_objects=True)
    export_onnx(folder / "model", folder / "exported", **DECODING)
    (folder / "photos").mkdir()
    for index, (width, height) in enumerate([(90, 40), (64, 64), (33, 100)]):
        image = Image.open(io.BytesIO(jpeg(width, height, seed=index)))
        image.save(folder / "photos" / f"{index}.png")
    return folder


@pytest.fixture(scope="module", autouse=True)
def compiled_once(folder):
    loaded = image_detector.load_model_folder(str(folder / "model"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_detector, "load_model_folder", lambda folder, precision: loaded)
        yield


@pytest.fixture(scope="module")
def files(folder):
    return [path.read_bytes() for path in sorted((folder / "photos").iterdir())]


@pytest.mark.parametrize(
    "decoding",
    [DECODING, {"top_k": 1}, {**DECODING, "stop_after_noise": 1}],
    ids=["sampled", "greedy", "until noise"],
)
def test_tokens_are_those_of_the_network(folder, files, decoding):
    ours = ImageDetector(folder / "model", batch_size=BATCH_SIZE, **decoding)
    prepared = [ours.prepare(file) for file in files]
    expected = ours.detector.generate(
        np.stack([image.image for image in prepared]), np.array([image.key for image in prepared])
    )
    exported = OnnxDetector(folder / "exported", num_threads=1, **decoding)
    found = exported.generate([exported.prepare(file) for file in files])
    assert len(np.unique(found["tokens"])) >= (20 if decoding is DECODING else 2)
    np.testing.assert_array_equal(found["tokens"], expected["tokens"])
    np.testing.assert_array_equal(found["category_ids"], expected["category_ids"])
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=1e-4)
    # One image alone, after others: nothing of them is left in the caches.
    (alone,) = exported.generate([exported.prepare(files[2])])["tokens"]
    np.testing.assert_array_equal(alone, expected["tokens"][2])


class _Told:
    """A runner whose likeliest class of each object is told, for each image."""

    def __init__(self, classes_BN):
        self._classes_BN = np.array(classes_BN)
        self.batch_size = len(classes_BN)

    def step(self, tokens_B, cache_index):
        logits_BV = np.zeros((self.batch_size, tiny_model.VOCABULARY.vocab_size), np.float32)
        likeliest_B = self._classes_BN[:, cache_index // 5]
        logits_BV[np.arange(self.batch_size), likeliest_B] = 1
        return logits_BV


@pytest.mark.parametrize(("number", "kept"), [(0, (6, 6)), (1, (1, 2)), (2, (5, 3)), (3, (6, 6))])
def test_sequences_end_after_noise(number, kept):
    object_, noise = CLASS_SHIFT + 2, NOISE_CLASS
    runner = _Told(
        [
            [noise, object_, object_, noise, noise, object_],
            [object_, noise, noise, object_, noise, object_],
        ]
    )
    found = decode(
        runner,
        np.zeros((2, 30), np.float32),
        settings=DecodeSettings(max_objects=6, top_k=1, stop_after_noise=number),
        vocabulary=tiny_model.VOCABULARY,
    )
    assert tuple(np.count_nonzero(found["tokens"], axis=1)) == tuple(5 * n for n in kept)
    assert tuple(np.count_nonzero(found["scores"], axis=1)) == kept


def test_it_answers_as_predict_does(folder, files):
    predict(
        lambda: ImageDetector(folder / "model", batch_size=BATCH_SIZE, **DECODING),
        find_images([folder / "photos"]),
        output_dir=folder / "found",
        score_threshold=0.0,
        draw=False,
        stream=io.StringIO(),
    )
    listed = json.loads((folder / "found" / "images.json").read_text())
    names = {row["id"]: row["name"] for row in listed["categories"]}
    by_file = {row["id"]: int(Path(row["file_name"]).stem) for row in listed["images"]}
    expected = json.loads((folder / "found" / "detections.json").read_text())
    exported = OnnxDetector(folder / "exported", num_threads=1)
    found = [
        (index, row) for index, rows in enumerate(exported.detect_files(files)) for row in rows
    ]
    assert len(found) == len(expected) > 5
    for (index, row), other in zip(found, expected, strict=True):
        assert index == by_file[other["image_id"]]
        assert row["category_id"] == other["category_id"] in (20, 30)
        assert row["category"] == names[other["category_id"]]
        assert row["bbox"] == pytest.approx(other["bbox"], abs=1e-4)
        assert row["score"] == pytest.approx(other["score"], rel=1e-4)


def test_int8_is_smaller_and_nearly_the_same(folder, files):
    exported, quantised = (
        OnnxDetector(folder / "exported", precision=precision, num_threads=1)
        for precision in ("float32", "int8")
    )
    graph = onnx.load(folder / "exported" / "decoder_step_int8.onnx").graph
    assert {"MatMulInteger", "ScatterElements"} <= {node.op_type for node in graph.node}
    images = np.stack([exported.prepare(file).image for file in files])
    for plain, small in zip(exported.encode(images), quantised.encode(images), strict=True):
        assert not np.array_equal(plain, small)
        assert np.abs(plain - small).max() < 0.2 * np.abs(plain).max()
    assert sum(map(len, quantised.detect_files(files))) > 0


def test_the_lines_of_the_document_print_objects(folder, monkeypatch, capsys):
    document = (ROOT / "docs" / "serving.md").read_text()
    (code,) = re.findall(r"```python\n(from pix2seq_model\.onnx.*?)```", document, re.DOTALL)
    monkeypatch.chdir(folder)
    (folder / "photo.jpg").write_bytes(jpeg(90, 40, seed=3))
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(re.match(r"(ring|cross) 0\.\d\d", line) for line in lines)


def test_a_runner_needs_numpy_pillow_and_onnx_runtime_alone(folder):
    """In a process that can import nothing else of what is installed."""
    program = f"""
import importlib.abc, sys
class Only(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        known = top in sys.stdlib_module_names or top.startswith("_")
        if not known and top not in ("numpy", "PIL", "onnxruntime", "pix2seq_model"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Only())
from pix2seq_model.onnx_runner.detector import OnnxDetector
detector = OnnxDetector({str(folder / "exported")!r}, num_threads=1)
(rows,) = detector.detect_files([open({str(folder / "photos" / "0.png")!r}, "rb").read()])
print(len(rows))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_what_cannot_be_run_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="--max_objects=50"):
        OnnxDetector(folder / "exported", max_objects=50)
    with pytest.raises(ConfigError, match="decoder_storage=float16 is not for exported"):
        OnnxDetector(folder / "exported", decoder_storage="float16")
    with pytest.raises(ConfigError, match="--decoder_storage=float32"):
        export_onnx(folder / "model", tmp_path / "none", decoder_storage="float16")
    with pytest.raises(ConfigError, match="precision"):
        OnnxDetector(folder / "exported", precision="float16")
    with pytest.raises(ModelError, match=r"export_onnx\.py"):
        OnnxDetector(folder / "model")
    for path in (folder / "exported").iterdir():
        (tmp_path / path.name).write_bytes(
            path.read_bytes()[: 2000 if "step" in path.name else None]
        )
    with pytest.raises(ModelError, match=r"decoder_step\.onnx cannot be loaded"):
        OnnxDetector(tmp_path)


class _Graph:
    def __init__(self, content):
        self._content = content

    def SerializeToString(self):  # noqa: N802
        return self._content


def test_an_export_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    def export(content):
        graphs = {name: _Graph(content) for name in onnx_export.GRAPHS}
        onnx_export._write_graphs(graphs, epath.Path(tmp_path), quantised=())

    def files():
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def copy_one(source, target):
        if source.stem == onnx_export.GRAPHS[1]:
            raise OSError(errno.ENOSPC, "No space left on device")
        copy(source, target)

    export(b"old")
    (tmp_path / "onnx.json").write_text("{}")
    before, copy = files(), onnx_export._copy
    monkeypatch.setattr(onnx_export, "_copy", copy_one)
    with pytest.raises(OSError, match="No space"):
        export(b"new")
    assert files() == before
    monkeypatch.undo()
    export(b"new")
    assert files() == {f"{name}.onnx": b"new" for name in onnx_export.GRAPHS}


def test_in_a_bucket_the_description_goes_first_and_comes_last(folder, tmp_path, monkeypatch):
    """Graphs are replaced one after the other: who reads in between is told so."""
    place, seen = tmp_path / "data" / "exported", []
    shutil.copytree(folder / "exported", place)
    old = {path.name: path.read_bytes() for path in place.iterdir()}
    info = onnx_folder.read_onnx_info(place)
    graphs = {name: _Graph(old[f"{name}_int8.onnx"]) for name in onnx_export.GRAPHS}
    copy_here = gpath._GPath.copy

    def copy(source, target, **options):
        copied = copy_here(source, target, **options)
        if str(target).startswith("gs://"):
            seen.append((place / "onnx.json").exists())
            # Who had read the description before.
            (place / "onnx.json").write_bytes(old["onnx.json"])
            with pytest.raises(ModelError, match=r"onnx is not the graph that onnx\.json"):
                OnnxDetector(place)
            (place / "onnx.json").unlink()
        return copied

    with epath_bucket(monkeypatch, tmp_path):
        monkeypatch.setattr(gpath._GPath, "copy", copy)
        _, sha256 = onnx_export._write_graphs(
            graphs, epath.Path("gs://data/exported"), quantised=()
        )
    assert seen == [False, False]
    whole = dataclasses.replace(info, graphs={"float32": info.graphs["float32"]}, sha256=sha256)
    write_json(place / "onnx.json", whole.as_json())
    OnnxDetector(place)


def test_the_file_that_a_full_disk_did_not_take_is_named(tmp_path, monkeypatch):
    """Not the one that is written to another disk around it: graphs go to the temporary folder."""
    graphs = {name: _Graph(b"some") for name in onnx_export.GRAPHS}
    save = onnx_export._save

    def full_for_the_second(graph, path):
        if path.stem == onnx_export.GRAPHS[1]:
            path.symlink_to("/dev/full")
        save(graph, path)

    monkeypatch.setattr(onnx_export, "_save", full_for_the_second)
    with pytest.raises(OSError, match="No space left") as full:
        onnx_export._write_graphs(graphs, epath.Path(tmp_path), quantised=())
    assert Path(full.value.filename).parent != tmp_path
    assert Path(full.value.filename).name == f"{onnx_export.GRAPHS[1]}.onnx"


def test_room_for_quantising_is_known_before(tmp_path, monkeypatch):
    """ONNX Runtime writes half a graph on a full disk, and then cannot read it."""

    def full(file, start, length):
        assert length > 2 * len(b"graph")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "plain.onnx").write_bytes(b"graph")
    monkeypatch.setattr("os.posix_fallocate", full)
    monkeypatch.setattr(onnx_export, "quantize_dynamic", lambda *_, **named: pytest.fail("begun"))
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
        onnx_export.quantise(tmp_path / "plain.onnx", tmp_path / "int8.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["plain.onnx"]


def test_more_objects_than_positions_are_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="max_objects=60"):
        export_onnx(folder / "model", tmp_path, max_objects=60)


@pytest.mark.large
@pytest.mark.parametrize(
    "fields",
    [
        {"use_class_token": True, "bridge": "linear"},
        {"backbone": "resnet", "resnet_width_multiplier": 0.25},
        pytest.param(
            {"backbone": "resnet", "resnet_width_multiplier": 0.25, "resnet_variant": "c4"},
            marks=pytest.mark.large,
        ),
        {"in_blocks": True},
    ],
    ids=["class_token", "resnet", "resnetc", "in_blocks"],
)
def test_every_kind_of_network_is_converted(fields, monkeypatch):
    fields = dict(fields)
    if in_blocks := fields.pop("in_blocks", False):  # As of large images.
        monkeypatch.setattr(blocked_attention, "LARGE", 0)
        monkeypatch.setattr(blocked_attention, "AT_ONCE", 0)
        monkeypatch.setattr(blocked_attention, "OF_A_BLOCK", 64)
    network = tiny_model.network(**fields)
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if weight.name in ("beta", "gamma", "bias", "moving_mean", "moving_variance"):
            weight.assign(weight.numpy() + rng.uniform(0.1, 0.5, weight.shape))
    graphs = convert_network(network, num_tokens=20)
    assert ("Loop" in {node.op_type for node in graphs.encoder.graph.node}) == in_blocks
    kinds = [node.op_type for node in graphs.decoder_step.graph.node]
    assert kinds.count("LayerNormalization") == 7  # three of each layer, one at the end
    run = onnxruntime.InferenceSession(graphs.encoder.SerializeToString())
    images = rng.random((2, *network.model_config.image_size, 3), np.float32)
    _, expected, _ = network.decoder.init_kv_cache(network.encode(images), 20)
    names = [cache.name for cache in graphs.cross_kv_caches]
    found = run.run(names, {"images": images})
    flat = [part for pair in expected for part in pair]
    for array, reference in zip(found, flat, strict=True):
        np.testing.assert_allclose(array, np.asarray(reference), atol=1e-4)


def test_python_loads_it_as_it_loads_the_model_folder(folder):
    expected = load(folder / "model", **DECODING).predict(folder / "photos", score=0.0)
    model = load(folder / "exported")
    assert (model.kind, model.categories) == ("ONNX", {20: "ring", 30: "cross"})
    found = model.predict(folder / "photos", score=0.0)
    assert sum(map(len, found)) > 0
    for one, other in zip(found, expected, strict=True):
        assert (one.source, one.width, one.height) == (other.source, other.width, other.height)
        assert one.names == other.names
        np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=1e-3)
    pixels = np.asarray(Image.open(folder / "photos" / "0.png"))
    assert model.predict(pixels, score=0.0)[0].names == expected[0].names
    assert load(folder / "exported", precision="int8").predict([]) == []
