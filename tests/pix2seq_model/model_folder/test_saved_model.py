"""The SavedModel: what it returns, against the same decoding in Python, and who can load it."""

import ast
import dataclasses
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from pix2seq_model.decoding import generate as generate_module
from pix2seq_model.decoding.generate import decode_images, decode_memory, generate
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.experiment import validation as experiment
from pix2seq_model.input_pipeline.image_file import prepare_image
from pix2seq_model.model_folder import saved_model
from pix2seq_model.model_folder.saved_model import export_saved_model
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.network.slice_update import without_xla
from pix2seq_model.tokens.detections import boxes_from_tokens, boxes_in_original
from pix2seq_model.tokens.vocabulary import NOISE_CLASS
from tests.fixtures import tiny_run

SETTINGS = DecodeSettings(max_objects=3, top_p=0.9)


@pytest.fixture(scope="module")
def network():
    config = tiny_run.config()
    network = build_model(
        experiment.model_config(config, "finetune"), experiment.vocabulary(config), seed=4
    )
    # Untrained, any token is as likely as any other: prefer boxes and the two classes.
    vocabulary = network.vocabulary
    bias = np.full(vocabulary.vocab_size, -4.0, np.float32)
    bias[vocabulary.coord_shift : vocabulary.coord_shift + vocabulary.num_bins] = 0
    bias[[102, 107, 109]] = [1, 2, 1]
    network.decoder.output_bias.assign(bias)
    return network


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "Format-Serving"
    with mock.patch.object(saved_model, "decode_images", wraps=decode_images) as traced:
        export_saved_model(
            network,
            folder,
            categories=tiny_run.CATEGORIES,
            settings=SETTINGS,
            seed=7,
            resize="plain",
        )
    # Both signatures hold the one graph of the decoder, most of what a SavedModel takes.
    assert traced.call_count == 1
    return folder


@pytest.fixture(scope="module")
def signatures(folder):
    return tf.saved_model.load(str(folder)).signatures


def _files():
    random = np.random.default_rng(0)
    files = []
    for shape, kind in (((40, 90, 3), "JPEG"), ((64, 32), "PNG"), ((20, 30, 3), "PNG")):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 255, shape, dtype=np.uint8)).save(file, kind)
        files.append(file.getvalue())
    return files


def _pixels(file):
    return np.asarray(tf.io.decode_image(file, channels=3, expand_animations=False))


def test_it_returns_what_python_decodes(network, signatures):
    served = signatures["serving_default"]
    got = {name: value.numpy() for name, value in served(image_bytes=tf.constant(_files())).items()}
    for index, file in enumerate(_files()):
        image = prepare_image(file, image_size=(32, 48), resize="plain")
        decoded = generate(
            network, image.image[None], image_keys=[image.key], seed=7, max_objects=3, top_p=0.9
        )
        boxes = boxes_in_original(
            boxes_from_tokens(decoded["tokens"], network.vocabulary),
            image_size=(32, 48),
            content_size_B2=image.content_size[None],
        )[0]
        expected = sorted(
            (
                (float(score), int(class_id), *map(float, box))
                for score, class_id, box in zip(
                    decoded["scores"][0], decoded["category_ids"][0], boxes
                )
                if class_id in (2, 7) and box[2] > box[0] and box[3] > box[1]
            ),
            reverse=True,
        )
        number = got["num_detections"][index]
        assert number == len(expected)
        for place, (score, class_id, *box) in enumerate(expected):
            assert got["detection_scores"][index, place] == pytest.approx(score, abs=1e-5)
            assert got["detection_classes"][index, place] == class_id
            assert got["detection_boxes"][index, place] == pytest.approx(box, abs=1e-5)
            name = {2: b"square", 7: b"bar"}[class_id]
            assert got["detection_class_names"][index, place] == name
        assert not got["detection_scores"][index, number:].any()
        assert not got["detection_classes"][index, number:].any()
    # So that all of this does not compare nothing with nothing.
    assert got["num_detections"].sum() >= 2


def test_storage_and_stopping_after_noise_are_served_too(network):
    images = np.random.default_rng(1).random((2, 32, 48, 3), np.float32)
    bias = np.array(network.decoder.output_bias)
    settings = DecodeSettings(
        max_objects=3, top_k=1, end_token_offset=-100, decoder_storage="float16", stop_after_noise=1
    )

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, 32, 48, 3))])
    def served(images):
        with without_xla():
            uniform_BL = tf.zeros((tf.shape(images)[0], settings.num_tokens))
            return decode_images(network, images, uniform_BL, settings=settings)

    graph = served.get_concrete_function().graph.as_graph_def()
    nodes = [graph.node, *(function.node_def for function in graph.library.function)]
    assert not [node.op for each in nodes for node in each if node.op.startswith("Xla")]
    lengths = set()
    try:
        # Noise never is likeliest, and always is.
        for noise in (-100.0, 100.0):
            network.decoder.output_bias.assign(_with(bias, NOISE_CLASS, noise))
            expected = generate(network, images, **dataclasses.asdict(settings))
            got = served(images)
            np.testing.assert_array_equal(got["tokens"], expected["tokens"])
            np.testing.assert_allclose(got["scores"], expected["scores"], atol=1e-5)
            lengths.add(int(np.count_nonzero(expected["tokens"][0])))
    finally:
        network.decoder.output_bias.assign(bias)
    assert lengths == {5, 15}


def _with(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


def test_arrays_give_what_files_give(signatures):
    file = _files()[1]
    from_file = signatures["serving_default"](image_bytes=tf.constant([file]))
    from_array = signatures["serving_images"](images=_pixels(file)[None])
    assert from_file.keys() == from_array.keys()
    for name, value in from_file.items():
        assert np.array_equal(value, from_array[name]), name


def test_categories_are_inside(folder):
    content = (folder / "assets.extra/categories.json").read_text()
    assert json.loads(content) == list(tiny_run.CATEGORIES)


def test_what_decided_the_graph_is_inside(folder):
    made = json.loads((folder / "assets.extra/export.json").read_text())
    assert made["settings"] == dataclasses.asdict(SETTINGS)
    assert {"seed", "resize", "tensorflow", "keras", "code"} < made.keys()


def test_classes_are_the_annotation_files_own(network, signatures, tmp_path):
    # An id that starts at 0 is raised by one to become a token; text becomes a number.
    categories = [
        {"id": 2, "name": "square", "source_id": "1"},
        {"id": 7, "name": "bar", "source_id": "900"},
    ]
    export_saved_model(network, tmp_path / "own", categories=categories, settings=SETTINGS, seed=7)
    stored, own = (
        each["serving_default"](image_bytes=tf.constant(_files()))["detection_classes"]
        for each in (signatures, tf.saved_model.load(str(tmp_path / "own")).signatures)
    )
    ids = np.zeros(8, np.int64)
    ids[[2, 7]] = [1, 900]
    assert own.dtype == tf.int64
    assert np.array_equal(own, ids[stored])
    assert np.any(own)


def test_no_server_needs_xla_for_it(folder):
    graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    functions = graph.meta_graphs[0].graph_def.library.function
    assert len(functions) > 2
    compiled = ("_XlaMustCompile", "_XlaCompile", "jit_compile")
    assert not any(f.attr[name].b for f in functions for name in compiled)
    assert not [n.op for f in functions for n in f.node_def if n.op.startswith("Xla")]


def _only_tensorflow(folder):
    """Fills a folder with links to TensorFlow and what it requires, and to no other package."""
    needed, waiting = set(), ["tensorflow"]
    while waiting:
        name = re.match(r"[\w.-]+", waiting.pop())[0]
        if name in needed or name == "keras":
            continue
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # For another platform.
        needed.add(name)
        waiting += [text for text in found.requires or [] if "extra ==" not in text]
        for top in {file.parts[0] for file in found.files if file.parts[0] != ".."}:
            link, target = folder / top, found.locate_file(top)
            if not link.exists() and os.path.exists(target):
                link.symlink_to(target)
    return folder


# In Python's way, and in the way of servers: by a session, with the names of tensors alone.
ONLY_TENSORFLOW = """
import sys
import tensorflow as tf

image = tf.zeros((50, 70, 3), tf.uint8)
files, pixels = tf.stack([tf.io.encode_png(image)] * 2), tf.stack([image] * 2)
signatures = tf.saved_model.load(sys.argv[1]).signatures
fed = {"serving_default": ("image_bytes", files), "serving_images": ("images", pixels)}
for signature, (name, value) in fed.items():
    result = signatures[signature](**{name: value})
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], sys.argv[1])
        described = meta_graph.signature_def[signature]
        served = session.run(
            {name: info.name for name, info in described.outputs.items()},
            {described.inputs[name].name: value.numpy()},
        )
    for output, expected in result.items():
        assert (served[output] == expected.numpy()).all(), (signature, output)
    print({output: value.shape.as_list() for output, value in sorted(result.items())})
for name in ("pix2seq_model", "keras", "tfx", "apache_beam", "PIL"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{name} can be imported: nothing is shown")
"""


def test_it_runs_in_a_process_that_has_only_tensorflow(folder, tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    # -S leaves out the environment's own packages.
    done = subprocess.run(
        [sys.executable, "-S", "-c", ONLY_TENSORFLOW, str(folder)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(_only_tensorflow(packages)), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shapes = {
        "detection_boxes": [2, 3, 4],
        "detection_class_names": [2, 3],
        "detection_classes": [2, 3],
        "detection_scores": [2, 3],
        "num_detections": [2],
    }
    assert [eval(line) for line in done.stdout.splitlines()[-2:]] == [shapes, shapes]


@pytest.mark.parametrize("on_processor", [True, False])
def test_the_graph_does_not_follow_the_exporting_machine(network, monkeypatch, on_processor):
    class AskedError(Exception):
        pass

    def step_products(storage, *, batch_size, on_processor):
        raise AskedError(on_processor)

    monkeypatch.setattr(generate_module, "computes_on_processor", lambda: on_processor)
    monkeypatch.setattr(network.decoder, "step_products", step_products)
    with without_xla(), pytest.raises(AskedError, match="True"):
        decode_memory(
            network, np.zeros((1, 6, 32), np.float32), np.zeros((1, 15)), settings=SETTINGS
        )


def test_all_code_of_the_graph_counts():
    library = Path(saved_model.__file__).parents[1]
    files = [file for place in saved_model._CODE for file in _files_in(library / place)]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module.startswith("pix2seq_model."):
                continue
            path = library / (node.module.removeprefix("pix2seq_model.").replace(".", "/") + ".py")
            name = path.relative_to(library).as_posix()
            assert path in files or name in _NOT_IN_THE_GRAPH, f"{file} imports {node.module}"


# What a graph is made of does not depend on them: messages, notes, pictures of attention, the
# machine's devices (only `computes_on_processor` is asked, see above), the weights' folder.
_NOT_IN_THE_GRAPH = {
    *("errors.py", "argument_names.py", "setting_checks.py", "accelerators.py"),
    *("atomic_write.py", "json_file.py"),
    *("input_pipeline/image_file.py", "model_folder/folder.py", "model_folder/pushed.py"),
}


def _files_in(path):
    return [path] if path.is_file() else sorted(path.rglob("*.py"))
