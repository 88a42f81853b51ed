import gc
import weakref

import numpy as np
import pytest
from keras import ops

from pix2seq_model.decoding import jit
from pix2seq_model.decoding.generate import generate
from tests.fixtures.tiny_model import CONFIG, network


def images():
    return np.random.default_rng(0).random((2, *CONFIG.image_size, 3), np.float32)


@pytest.mark.parametrize("on_processor", [True, False])
def test_the_encoder_is_compiled_by_xla_but_for_a_processor(on_processor, monkeypatch):
    monkeypatch.setattr(jit, "computes_on_processor", lambda: on_processor)
    model = network()
    encode = jit.compiled_encoder(model)
    np.testing.assert_allclose(encode(images()), model.encode(images()), atol=1e-5)
    assert (encode.function_spec.jit_compile is True) is not on_processor


def test_the_compiled_functions_keep_no_network_alive():
    model = network()
    generate(model, images(), max_objects=1)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_the_encoder_is_traced_once_for_all_settings(monkeypatch):
    model, traced = network(), []
    call = model.encode
    monkeypatch.setattr(model, "encode", lambda given: traced.append(0) or call(given))
    for objects in (1, 2):
        found = generate(model, images(), max_objects=objects, top_k=1)
        assert ops.shape(found["tokens"]) == (2, 5 * objects)
    assert len(traced) == 1
