import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from pix2seq_model import reference_check
from pix2seq_model.published.checkpoint import load_published_checkpoint
from tests.fixtures import published_layout, reference

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def recorded():
    return reference.arrays("vit/golden")


def copy_with(folder, *, change_weight):
    """The ViT reference with its checkpoint written again, one number of it changed if asked."""
    source = reference.model_folder("vit")
    loaded = load_published_checkpoint(str(source / "checkpoint_dir"))
    if change_weight:
        weight = loaded.network.get_layer("decoder").layers[1].mlp.contract.bias
        values = weight.numpy() if hasattr(weight, "numpy") else np.asarray(weight)
        weight.assign(values + np.eye(1, len(values))[0] * 0.05)
    published_layout.write(folder / "checkpoint_dir", loaded.network)
    (folder / "checkpoint_dir/config.json").unlink()
    for name in ("config.json", "golden.npz"):
        shutil.copy(source / name, folder / name)
    return folder


def failed(rows):
    return {row.array for row in rows if not row.ok}


def run(folder, backend):
    return subprocess.run(
        [sys.executable, "-m", "pix2seq_model.reference_check", str(folder)],
        env={**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )


def test_the_vit_reference_passes(capsys):
    assert reference_check.main([str(reference.model_folder("vit"))]) == 0
    printed = capsys.readouterr().out
    assert f"on {keras.backend.backend()}" in printed
    assert "all ok" in printed


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "backend"), [("vit", "jax"), ("resnet", "tensorflow"), ("resnet", "jax")]
)
def test_the_other_references_pass(name, backend):
    """A process each, of half a minute and more: `make test-large`."""
    done = run(reference.model_folder(name), backend)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"on {backend}" in done.stdout
    assert "all ok" in done.stdout


@pytest.mark.large
def test_a_changed_number_of_the_resnet_reference_fails(tmp_path):
    folder = shutil.copytree(reference.model_folder("resnet"), tmp_path / "resnet")
    golden = reference.arrays("resnet/golden")
    golden["train_losses"][-1] *= 1.05
    np.savez(folder / "golden.npz", **golden)
    done = run(folder, "tensorflow")
    assert done.returncode == 1
    assert "not ok: train_losses" in done.stdout


def test_a_changed_weight_fails(tmp_path, recorded):
    # Written again without a change, the reference is the same one, which passes above.
    same = copy_with(tmp_path / "same", change_weight=False)
    folders = (reference.model_folder("vit"), same)
    loaded = [load_published_checkpoint(str(folder / "checkpoint_dir")) for folder in folders]
    for ours, theirs in zip(*(one.network.weights for one in loaded), strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs)
        )
    changed = copy_with(tmp_path / "changed", change_weight=True)
    # Without the training steps, whose rounding would be measured in eight more runs.
    golden = {name: value for name, value in recorded.items() if not name.startswith("train_")}
    np.savez(changed / "golden.npz", **golden)
    off = failed(reference_check.check(changed))
    assert {"logits", "token_losses", "greedy_logits"} <= off
    assert not {"encoder_output", "encoded", "input_seq"} & off


@pytest.mark.parametrize("array", reference_check.TOLERANCES)
def test_a_changed_number_fails(array, recorded):
    changed = np.array(recorded[array])
    place = changed.reshape(-1)[-1:]
    place += {"i": 1, "f": max(1e-3, 0.02 * abs(place[0]))}[changed.dtype.kind]
    assert not failed(reference_check.compare(recorded, recorded))
    assert failed(reference_check.compare(recorded, {**recorded, array: changed})) == {array}


def test_missing_and_unknown_arrays_fail(recorded):
    fewer = {name: value for name, value in recorded.items() if name != "boxes"}
    rows = reference_check.compare(recorded, {**fewer, "novelty": np.zeros(3)})
    assert failed(rows) == {"boxes", "novelty"}
    table = reference_check.format_table(rows)
    assert "missing" in table
    assert "unknown" in table


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_fail(bad, recorded):
    ours = {**recorded, "logits": np.full_like(recorded["logits"], bad)}
    assert failed(reference_check.compare(ours, recorded)) == {"logits"}


def test_a_checkpoint_that_lacks_a_weight_is_status_1(tmp_path, capsys):
    loaded = load_published_checkpoint(str(reference.model_folder("vit") / "checkpoint_dir"))
    published_layout.write(
        tmp_path / "checkpoint_dir", loaded.network, leave_out="model/proj_ln/gamma"
    )
    for name in ("config.json", "golden.npz"):
        shutil.copy(reference.model_folder("vit") / name, tmp_path / name)
    assert reference_check.main([str(tmp_path)]) == 1
    assert "model/proj_ln/gamma" in capsys.readouterr().err
