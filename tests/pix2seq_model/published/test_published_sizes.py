"""The four published networks at full width and depth, on small images. `make test-large`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pix2seq_model.network.test_pix2seq import PARAMETERS

# In a process of its own, which gives the memory back.
_STEP = """
import json, sys
import keras
import numpy as np
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.training.training_model import TrainingModel
from pix2seq_model.training.training_step import make_step
from pix2seq_model.tokens.vocabulary import Vocabulary

network = build_model(ModelConfig.published(sys.argv[1], (64, 96)), Vocabulary())
random = np.random.default_rng(0)
image = random.random((2, 64, 96, 3), np.float32)
tokens = random.integers(1000, 2000, (2, 11)).astype(np.int32)
inputs = {"image": image, "tokens": tokens[:, :-1]}
logits = keras.ops.convert_to_numpy(network(inputs))
model = TrainingModel(network, keras.optimizers.AdamW(1e-4), vocabulary=Vocabulary())
step = make_step(model)
batch = step.place((inputs, tokens[:, 1:], np.ones((2, 10), np.float32)))
losses = []
for _ in range(2):
    model.log.reset()
    step(batch)
    step.synchronize()
    losses.append(model.log.read()["loss"])
print(json.dumps({
    "backend": keras.backend.backend(),
    "parameters": network.count_params(),
    "shape": list(logits.shape),
    "finite": bool(np.isfinite(logits).all()),
    "losses": losses,
}))
"""


@pytest.mark.large
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize("name", PARAMETERS)
def test_it_counts_runs_and_trains_a_step(name, backend):
    done = subprocess.run(
        [sys.executable, "-c", _STEP, name],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["backend"] == backend
    assert found["parameters"] == PARAMETERS[name]
    assert found["shape"] == [2, 10, 3000]
    assert found["finite"]
    # The second step sees the same batch, with the weights that the first one moved.
    assert found["losses"][0] == pytest.approx(8.1, abs=0.4)  # log 3000
    assert found["losses"][1] < found["losses"][0]
