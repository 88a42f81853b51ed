"""Records to arrays, and from there all parts of gpu.sh on a processor, without TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import batches, train
from benchmarks.gpu.batches import Batches
from pix2seq_model.errors import ConfigError
from tests.fixtures import tiny_config, tiny_run

ROOT = Path(__file__).parents[3]
# A config of its own file: the machine with the GPU loads it by its path.
CONFIG = """
from tests.fixtures import tiny_config


def get_config():
    config = tiny_config.config(steps=3, steps_per_log=2, warmup_steps=0)
    config.unlock()
    config.evaluation.batch_size = 5
    for split in ("train", "val"):
        config.data.finetune.images[split] = config.data.finetune.annotations[split] = "anywhere"
    return config
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    examples = tiny_run.write_examples(folder / "examples", splits=("train", "val"))
    (folder / "config.py").write_text(CONFIG)
    arguments = [f"--examples={examples}", f"--output={folder / 'b.npz'}", "--batches=2"]
    arguments += [f"--config={folder / 'config.py'}", "--config.seed=4"]
    assert batches.main(arguments) == 0
    return folder / "b.npz"


def test_the_arrays_are_the_batches_of_the_training_input(file):
    from pix2seq_model.input_pipeline.datasets import training_dataset

    kept = Batches.load(file)
    run = kept.run()
    assert (run.seed, run.settings.steps) == (4, 3)
    dataset = training_dataset(
        file.parent / "examples",
        split="train",
        vocabulary=tiny_config.VOCABULARY,
        image_size=(32, 48),
        batch_size=4,
        seed=4,
        augmentation=run.settings.augmentation,
        sequence=run.settings.sequence,
        image_dtype="uint8",
        shuffle_buffer=run.settings.shuffle_buffer,
    )
    expected = [*dataset.take(2).as_numpy_iterator()]
    endless = kept.endless()
    # The third is the first again.
    for inputs, targets, weights in (*expected, expected[0]):
        found_inputs, found_targets, found_weights = next(endless)
        assert np.array_equal(found_inputs["image"], inputs["image"])
        assert found_inputs["image"].dtype == np.uint8
        assert np.array_equal(found_inputs["tokens"], inputs["tokens"])
        assert np.array_equal(found_targets, targets)
        assert np.array_equal(found_weights, weights)


def test_what_is_evaluated_on(file):
    kept = Batches.load(file)
    assert kept.val["image"].shape == (12, 32, 48, 3)
    assert kept.val["uniform"].shape == (12, 15)
    assert kept.val["image_id"].tolist() == [image["id"] for image in kept.truth["images"]]
    assert kept.category_numbers == {2: 2, 7: 7}
    perfect = [{**row, "score": 0.9} for row in kept.truth["annotations"]]
    assert train.ap_of(kept, perfect) == pytest.approx(1.0)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.npz: there is no such file; python -m"):
        Batches.load(tmp_path / "none.npz")


@pytest.fixture
def hidden(tmp_path):
    """A folder in front of all others that hides TensorFlow."""
    (tmp_path / "hidden/tensorflow").mkdir(parents=True)
    missing = "raise ImportError('there is no TensorFlow here')"
    (tmp_path / "hidden/tensorflow/__init__.py").write_text(missing)
    return tmp_path / "hidden"


def test_all_parts_on_a_processor_without_tensorflow(file, tmp_path, hidden):
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gpu.gpu_child", file, tmp_path],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": f"{hidden}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    (network,) = found["step"]["networks"]
    assert network["flash_kernels"] == 0
    assert network["loop_ms"] > 0
    assert network["utilisation"] is None
    scopes = {row["scope"].split("/")[0] for row in network["kernels"]}
    assert {"encoder", "decoder"} <= scopes
    assert any(row["backward"] for row in network["kernels"])
    (batch,) = found["decode"]["batches"]
    assert (batch["batch_size"], batch["tokens"]) == (2, 10)
    (attention,) = found["decode"]["attention"]
    assert 0 < attention["plain"]["forward_error"] < 0.02
    assert 0 < attention["plain"]["backward_error"] < 0.03
    assert attention["flash"]["refused"]
    runs = found["train"]["runs"]
    assert [(run["precision"], run["seed"], run["steps"]) for run in runs] == [
        ("mixed_bfloat16", 3, 3),
        ("float32", 3, 3),
    ]
    # The same weights and batches: nearly the same loss, and a number for AP.
    assert runs[0]["loss"] == pytest.approx(runs[1]["loss"], rel=0.01)
    assert runs[0]["loss"] != runs[1]["loss"]
    assert all(0 <= run["ap"] <= 1 for run in runs)
    page = (tmp_path / "gpu.md").read_text()
    assert "| tiny | 32 | 2 |" in page
    assert "nothing is said of their agreement" in page
    assert not found["step"]["machine"]["peak_tflops"]

    # Where there was no engine, AP is filled in elsewhere.
    trained = json.loads((tmp_path / "train.json").read_text())
    scored = [run["ap"] for run in trained["runs"]]
    for run in trained["runs"]:
        run["ap"] = None
    (tmp_path / "train.json").write_text(json.dumps(trained))
    assert train.main([f"--batches={file}", f"--output={tmp_path}", "--score"]) == 0
    again = json.loads((tmp_path / "train.json").read_text())
    assert [run["ap"] for run in again["runs"]] == scored


@pytest.mark.large
def test_the_script_itself_with_a_process_for_each_network(file, tmp_path, hidden):
    options = [f"--output={tmp_path / 'out'}", f"--wheels={tmp_path}", f"--batches={file}"]
    done = subprocess.run(
        ["bash", ROOT / "benchmarks/gpu.sh", "--tiny", *options],
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(hidden)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out/gpu.json").read_text())
    assert set(found) == {"step", "decode", "train"}
    assert not found["step"]["failed"]
    assert found["step"]["machine"]["product_tflops"] > 0
    assert [run["seed"] for run in found["train"]["runs"]] == [0, 0, 1, 1, 2, 2]
    assert found["train"]["summary"]["agree"] is not None
    assert "ms a token" in done.stdout
