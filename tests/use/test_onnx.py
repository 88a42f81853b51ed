"""The ONNX file finds what the SavedModel finds."""

import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.evaluation_image import decode_image
from pix2seq_model.export import SERVED_IMAGES
from tests.commands import run_command
from tests.use.conftest import TOLERANCE

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")
pytestmark = pytest.mark.use


@pytest.fixture(scope="module")
def exported(model_dir, tmp_path_factory):
    """The command's two formats, as functions of pixels."""
    folder = tmp_path_factory.mktemp("exported")
    for form, name in (("saved_model", "1"), ("onnx", "detector.onnx")):
        run_command(
            "export_model", f"--model={model_dir}", f"--format={form}", f"--output={folder / name}"
        )
    model = tf.saved_model.load(str(folder / "1"))
    session = onnxruntime.InferenceSession(str(folder / "detector.onnx"))
    names = [output.name for output in session.get_outputs()]
    return (
        lambda pixels: {
            name: value.numpy()
            for name, value in model.signatures[SERVED_IMAGES](images=tf.constant(pixels)).items()
        },
        lambda pixels: dict(zip(names, session.run(names, {"images": pixels}))),
    )


def _text(values):
    return [value.decode() if isinstance(value, bytes) else value for value in values.ravel()]


def _compare(exported, pixels):
    expected, got = (find(pixels) for find in exported)
    assert expected.keys() == got.keys()
    for name in ("num_detections", "detection_classes"):
        assert expected[name].dtype == got[name].dtype
        np.testing.assert_array_equal(expected[name], got[name])
    for name in ("detection_boxes", "detection_scores"):
        np.testing.assert_allclose(expected[name], got[name], atol=TOLERANCE)
    assert _text(expected["detection_class_names"]) == _text(got["detection_class_names"])
    return int(expected["num_detections"].sum())


def test_every_image(exported, images):
    found = [_compare(exported, decode_image(file).numpy()[None]) for file in images[1].values()]
    assert sum(found) >= len(found) / 2
    print(f"ONNX: {len(found)} images, {sum(found)} objects as the SavedModel finds them")


def test_a_batch(exported, images):
    image = decode_image(next(iter(images[1].values()))).numpy()
    assert _compare(exported, np.stack([image, image[::-1], image[:, ::-1]])) > 0
