"""The comparison with the published code, on a dozen images and with a tiny network."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import equal_steps
from pix2seq_model.data.manifest import STATISTICS_FILE
from pix2seq_model.errors import CheckpointError
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.training.checkpoint import CheckpointFolder
from tests.fixtures import eager_steps, tiny_config, tiny_run


def test_settings_are_those_of_the_recorded_runs():
    run = training_run(equal_steps.get_config(seed=1, steps=2000, every=500), "finetune")
    settings, sequence, augmentation = (
        run.settings,
        run.settings.sequence,
        run.settings.augmentation,
    )
    assert run.seed == 1
    assert (run.model.backbone, run.model.resnet_depth) == ("resnet", 50)
    assert (run.model.resnet_variant, run.model.resnet_width_multiplier) == ("c4", 0.25)
    for part in ("encoder", "decoder"):
        names = (f"num_{part}_layers", f"dim_{part}", f"mlp_dim_{part}", f"num_heads_{part}")
        assert [getattr(run.model, name) for name in names] == [2, 128, 256, 4]
    assert run.model.attention_initializer == "published"
    assert (run.model.drop_path, run.model.drop_units, run.model.drop_attention) == (0.1, 0.1, 0)
    vocabulary = run.vocabulary
    assert (vocabulary.num_bins, vocabulary.coord_shift, vocabulary.vocab_size) == (64, 200, 264)
    assert (sequence.max_objects, sequence.order, sequence.noise_objects) == (8, "random", True)
    assert sequence.class_corruption == "rand_n_fake_cls"
    assert (settings.image_size, settings.batch_size, settings.steps) == ((64, 64), 32, 2000)
    assert (settings.learning_rate, settings.end_factor) == (1.5e-3, 0.01)
    assert settings.schedule == "linear"
    assert (settings.warmup_steps, settings.weight_decay, settings.beta_2) == (100, 0.05, 0.95)
    assert settings.weight_decay_exclude == ()
    assert (settings.clip_norm, settings.precision) == (1.0, "float32")
    assert (augmentation.scale_min, augmentation.scale_max) == (0.3, 2.0)
    assert (augmentation.crop, augmentation.flip) == ("diagonal", True)
    assert settings.drop_empty_images
    assert (run.evaluation.max_objects, run.evaluation.top_k, run.evaluation.top_p) == (8, 0, 0.4)


@pytest.mark.large
def test_a_small_run_and_the_same_call_again(tmp_path, monkeypatch, capsys):
    get_config, evaluated = equal_steps.get_config, []

    def smaller(**arguments):
        config = get_config(**arguments)
        config.model.update(tiny_config.config().model)
        config.finetune.batch_size = 4
        config.finetune.sequence.max_objects = config.evaluation.max_objects = 2
        return config

    def evaluate(network, truth, *, settings):
        """In place of the library's, which compiles for longer than all else takes."""
        assert (truth.split, len(truth.image_numbers)) == ("val", tiny_run.NUM_EXAMPLES)
        evaluated.append((settings.seed, network.get_weights()))
        return SimpleNamespace(result=SimpleNamespace(metrics={"AP": 0.1 * len(evaluated)}))

    eager_steps.use(monkeypatch)
    monkeypatch.setattr(equal_steps, "get_config", smaller)
    monkeypatch.setattr(equal_steps, "evaluate_network", evaluate)
    examples = tiny_run.write_examples(tmp_path / "examples", splits=("train", "val"))
    (examples / STATISTICS_FILE).write_text('{"train": {"empty": 0}}')
    arguments = [f"--examples={examples}", f"--output={tmp_path / 'out'}", "--seeds=3"]
    arguments += ["--steps=4", "--every=2"]
    assert equal_steps.main([*arguments, "--sampling_seeds=0,1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| published | 0 |  |  | 0.957 |"
    (report_file,) = (tmp_path / "out").glob("*.json")
    ours = json.loads(report_file.read_text())["rows"][-1]
    assert ours["seed"] == 3
    assert ours["ap"] == pytest.approx({"2": 0.15, "4": 0.35})
    assert 1 < ours["loss"] < 10
    folder = tmp_path / "out" / report_file.stem / "seed3"
    network, _ = load_model_folder(str(folder / "model"))
    middle, end = evaluated[0][1], evaluated[2][1]
    assert all(map(np.array_equal, end, network.get_weights()))
    assert not all(map(np.array_equal, middle, end))

    # The same call again trains nothing, and evaluates only what is new.
    assert equal_steps.main([*arguments, "--sampling_seeds=0,1,2"]) == 0
    assert [seed for seed, _ in evaluated] == [0, 1, 0, 1, 2, 2]
    assert all(map(np.array_equal, evaluated[5][1], end))
    again = json.loads(report_file.read_text())["rows"][-1]
    assert again == {**ours, "ap": pytest.approx({"2": 0.8 / 3, "4": 1.3 / 3})}
    with pytest.raises(CheckpointError, match="step 3"):
        CheckpointFolder(folder / "work/checkpoints").read(3)


def test_mean_and_range_of_the_published_runs():
    found = equal_steps.summary(list(equal_steps.PUBLISHED), [2000])
    assert found["mean"]["AP at 2000"] == pytest.approx(0.526, abs=5e-4)
    assert found["range"]["AP at 2000"] == pytest.approx(0.024)
