"""A training run, undisturbed, interrupted and continued, in its smallest form."""

import json
import re
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.errors import CheckpointError, ConfigError, DataError, FolderInUseError
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.training import train as training
from pix2seq_model.training.evaluation import TrainingEvaluation
from pix2seq_model.training.run_record import check_same_run, run_identity
from tests.fixtures import eager_steps, tiny_run


def test_the_model_folder_is_complete(plain_run):
    root, info = plain_run
    names = sorted(path.name for path in (root / "model").iterdir())
    assert names == ["Format-Serving", "history", "model.json", "model.weights.h5", "run.json"]
    network, read = load_model_folder(root / "model")
    assert read == info
    assert network.model_config.image_size == (32, 48)
    assert [category["name"] for category in read.categories] == ["square", "bar"]
    # As it is evaluated and as its SavedModel decodes.
    sampling = {"top_k": 0, "top_p": 0.4, "temperature": 1.0, "end_token_offset": 0.0, "seed": 0}
    sampling |= {"stop_after_noise": 0, "decoder_storage": "float32"}
    assert read.decoding == {"max_objects": 3, **sampling}


def test_the_history_has_a_row_for_every_interval(plain_run):
    rows = tiny_run.history(plain_run[0])
    assert [row["step"] for row in rows] == [4, 8, 10]
    assert set(rows[0]) == {
        *("step", "learning_rate", "loss", "loss_coordinates", "loss_classes", "loss_noise"),
        *("token_accuracy", "gradient_norm"),
    }
    # The first steps of a network that knows nothing: every token is as likely as any other.
    assert rows[0]["loss"] == pytest.approx(5.07, abs=0.15)  # log 160
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_the_run_record_says_what_it_takes_to_repeat(plain_run, examples):
    record = json.loads((plain_run[0] / "model/run.json").read_text())
    assert record["config"]["finetune"]["steps"] == 10
    assert record["seed"] == 3
    assert record["data"]["folder"] == str(examples)
    assert re.fullmatch("[0-9a-f]{64}", record["data"]["fingerprint"])
    assert record["packages"]["keras"]
    assert record["hardware"]["backend"] == "tensorflow"
    assert record["base_model"] is None
    assert record["restarts"] == 0


def test_the_same_command_on_a_finished_run_writes_the_same_model(
    plain_run, examples, no_export, capsys
):
    root, info = plain_run
    assert tiny_run.train(root, examples).weights_sha256 == info.weights_sha256
    # Nothing is trained, and nobody is told that it is.
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.strip()] == [
        f"finetune is done; writing the model to {root}/model"
    ]


def test_tensorboard_keeps_the_steps_before_an_interruption(
    plain_run, examples, tmp_path, no_export
):
    shutil.copytree(plain_run[0] / "work", tmp_path / "work")
    (tmp_path / "work/checkpoints/step-000000010.npz").unlink()
    tiny_run.train(tmp_path, examples)  # From step 9 on, with logs in another folder.
    assert logged(tmp_path)["loss/all"] == [4, 8, 10]


def test_other_settings_in_the_same_work_folder_are_refused(plain_run, examples):
    with pytest.raises(CheckpointError, match=r"finetune.learning_rate: 0.001 there, 0.002 now"):
        tiny_run.train(plain_run[0], examples, learning_rate=0.002)


def test_evaluations_while_training_and_the_best_kept(tmp_path, monkeypatch, no_export):
    examples = tiny_run.write_examples(tmp_path / "examples", splits=("train", "val"))
    scores = iter([0.1, 0.3, 0.2])
    real, weights = TrainingEvaluation._evaluate, []

    def evaluate(self):
        metrics, picture = real(self)
        assert set(metrics) == {"AP", "AP50"}
        assert picture.dtype == np.uint8
        weights.append(self._step.model.network.get_weights())
        return {**metrics, "AP": next(scores)}, picture

    monkeypatch.setattr(TrainingEvaluation, "_evaluate", evaluate)
    settings = {"evaluate_every_steps": 4, "evaluate_images": 5, "keep_best": True}
    info = tiny_run.train(tmp_path, examples, ema_decay=0.5, **settings)
    assert [(row["step"], row["AP"]) for row in tiny_run.history(tmp_path)] == [
        (4, 0.1),
        (8, 0.3),
        (10, 0.2),
    ]
    losses = [row["validation_loss"] for row in tiny_run.history(tmp_path)]
    assert losses == sorted(losses, reverse=True)  # It learns.
    assert losses[0] == pytest.approx(5.07, abs=0.15)  # log 160
    network, _ = load_model_folder(tmp_path / "model")
    for best, saved in zip(weights[1], network.get_weights(), strict=True):
        assert np.array_equal(best, saved)
    assert info.source.endswith("best of step 8")


EVALUATED = {"evaluate_every_steps": 4, "evaluate_images": 5, "keep_best": True}


@pytest.mark.parametrize(
    ("scores", "source", "said"),
    [
        ([0.0, 0.0, 0.0], "best of step 10", "keeps the weights of step 10: AP 0.0000"),
        ([0.2, 0.2, 0.1], "best of step 8", "keeps the weights of step 8: AP 0.2000"),
        # COCO's -1 is no number to be compared.
        ([-1.0, -1.0, -1.0], "10 steps", "keeps the last weights, of step 10: AP could not be"),
    ],
)
def test_which_weights_are_kept(tmp_path, monkeypatch, no_export, capsys, scores, source, said):
    examples = tiny_run.write_examples(tmp_path / "examples", splits=("train", "val"))
    numbers, picture = iter(scores), np.zeros((8, 8, 3), np.uint8)
    monkeypatch.setattr(
        TrainingEvaluation,
        "_evaluate",
        lambda self: ({"AP": next(numbers), "AP50": 0.0}, picture),
    )
    info = tiny_run.train(tmp_path, examples, ema_decay=0.5, **EVALUATED, validation_loss=False)
    assert info.source.endswith(source)
    assert said in capsys.readouterr().err


def test_best_weights_are_not_written_by_one_that_lost_the_folder(tmp_path, monkeypatch):
    """The first check is before the evaluation of step 4; the checkpoints come after step 10."""

    def lost(_):
        raise FolderInUseError("another trainer has it")

    examples = tiny_run.write_examples(tmp_path / "examples", splits=("train", "val"))
    eager_steps.use(monkeypatch)
    monkeypatch.setattr(
        TrainingEvaluation,
        "_evaluate",
        lambda self: ({"AP": 0.5, "AP50": 0.0}, np.zeros((8, 8, 3), np.uint8)),
    )
    monkeypatch.setattr("pix2seq_model.training.train.FolderLock.check", lost)
    settings = {**EVALUATED, "checkpoint_every_steps": 10, "validation_loss": False}
    with pytest.raises(FolderInUseError):
        tiny_run.train(tmp_path, examples, **settings)
    assert not list(tmp_path.rglob("best/*"))


def test_evaluations_while_training_are_as_the_last_one(tmp_path, monkeypatch, no_export):
    """Split, batch size, precision and storage of the config's evaluation, whatever trains."""
    examples = tiny_run.write_examples(tmp_path / "examples", splits=("train", "val", "test"))
    each_step = {"steps": 3, "steps_per_log": 1, "evaluate_every_steps": 1}
    settings = {**EVALUATED, **each_step, "validation_loss": False}
    config = tiny_run.config(precision="mixed_bfloat16", **settings)
    config.evaluation.update(split="test", batch_size=3, decoder_storage="float16")
    seen, weights = [], []

    def evaluate(network, truth, *, settings, max_images):
        seen.append((network.compute_dtype, truth.split, settings.batch_size, max_images))
        weights.append(network.get_weights())
        result = types.SimpleNamespace(metrics={"AP": 0.0, "AP50": 0.0})
        first = [truth.coco["images"][0]["id"]]
        return types.SimpleNamespace(result=result, image_ids=first, detections=[])

    monkeypatch.setattr("pix2seq_model.training.evaluation.evaluate_network", evaluate)
    eager_steps.use(monkeypatch)
    training.train(
        training_run(config, "finetune"),
        examples_dir=examples,
        **{f"{name}_dir": tmp_path / name for name in ("model", "work", "logs")},
    )
    assert seen == [("float32", "test", 3, 5)] * 3
    # As it is at that step, and not as it was the first time.
    assert not all(map(np.array_equal, weights[0], weights[2]))
    network, _ = load_model_folder(tmp_path / "model")
    assert all(map(np.array_equal, weights[2], network.get_weights()))


def test_how_the_best_is_measured_is_part_of_the_run():
    data = types.SimpleNamespace(fingerprint=lambda: "data")
    identities = []
    for settings in ({}, EVALUATED):
        for batch_size in (4, 8):
            config = tiny_run.config(**settings)
            config.evaluation.batch_size = batch_size
            run = training_run(config, "finetune")
            identities.append(run_identity(run, data=data, base_model=None))
    assert identities[0] == identities[1]
    assert identities[2] != identities[3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"evaluate_every_steps": 3}, r"evaluate_every_steps=3 .*steps_per_log=4: choose 4"),
        ({"keep_best": True}, r"keep_best=True needs evaluations"),
    ],
)
def test_evaluations_that_cannot_be_are_refused(examples, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        tiny_run.train(tmp_path, examples, **settings)


def test_mixed_bfloat16_trains_alike_and_saves_float32(plain_run, examples, tmp_path, no_export):
    tiny_run.train(tmp_path, examples, precision="mixed_bfloat16")
    for full, mixed in zip(tiny_run.history(plain_run[0]), tiny_run.history(tmp_path), strict=True):
        assert mixed["loss"] == pytest.approx(full["loss"], rel=0.01)
        assert mixed["loss"] != full["loss"]
    network, _ = load_model_folder(tmp_path / "model")
    assert {weight.dtype for weight in network.weights} == {"float32"}
    assert network.compute_dtype == "float32"


def logged(root):
    """The steps of everything in the TensorBoard logs of a run."""
    found = {}
    for log in (root / "logs/finetune").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(log)):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


def test_tensorboard_has_the_curves_and_the_pictures(plain_run):
    found = logged(plain_run[0])
    assert found["loss/all"] == [4, 8, 10]
    assert found["training examples"] == [0]
    assert set(found) == {
        *("loss/all", "loss/coordinates", "loss/classes", "loss/noise", "accuracy/tokens"),
        *("optimizer/learning_rate", "optimizer/gradient_norm", "optimizer/weight_norm"),
        *("speed/images_per_second", "speed/share_of_time_waiting_for_input"),
        "training examples",
    }


def test_fine_tuning_starts_from_a_base_model(
    plain_run, examples, tmp_path, capsys, monkeypatch, no_export
):
    root, base = plain_run
    config = tiny_run.config(steps=1, warmup_steps=0, image_size=(48, 64), learning_rate=1e-12)
    eager_steps.use(monkeypatch)
    info = training.train(
        training_run(config, "pretrain"),
        examples_dir=examples,
        model_dir=tmp_path / "model",
        work_dir=tmp_path / "work",
        logs_dir=tmp_path / "logs",
        base_model_dir=root / "model",
    )
    assert "weights taken" in capsys.readouterr().err
    assert info.model.image_size == (48, 64)
    names = sorted(path.name for path in (tmp_path / "model/history").iterdir())
    assert names == ["finetune.jsonl", "pretrain.jsonl"]
    record = json.loads((tmp_path / "model/run.json").read_text())
    assert record["base_model"]["weights_sha256"] == base.weights_sha256
    assert record["base_model"]["run"]["stage"] == "finetune"
    (before, _), (after, _) = (
        load_model_folder(root / "model"),
        load_model_folder(tmp_path / "model"),
    )
    for old, new in zip(before.weights, after.weights, strict=True):
        assert new.numpy() == pytest.approx(old.numpy(), abs=1e-6)


def test_a_batch_that_does_not_divide_is_refused(examples, tmp_path):
    with pytest.raises(ConfigError, match=r"finetune.batch_size=4 .*accumulation_steps=3"):
        tiny_run.train(tmp_path, examples, accumulation_steps=3)


def test_checkpoints_of_another_order_of_records_are_refused(tmp_path):
    check_same_run(tmp_path, {"seed": 1})  # As an earlier version wrote it.
    with pytest.raises(CheckpointError, match=r"in another order.*use another work folder"):
        check_same_run(tmp_path, {"seed": 1, "record_order": "lanes"})


def test_missing_examples_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        tiny_run.train(tmp_path, tmp_path / "nowhere")


def test_images_with_more_objects_than_a_sequence_holds_are_said(tmp_path):
    said = []
    job = types.SimpleNamespace(
        examples_dir=tmp_path,
        split="train",
        run=training_run(tiny_run.config(), "finetune"),
        replicas=types.SimpleNamespace(is_chief=True),
        progress=types.SimpleNamespace(message=said.append),
    )
    training._say_what_is_left_out(job)  # No statistics, nothing to say.
    counts = {"train": {"objects_per_image": {"2": 50, "5": 1}}}
    (tmp_path / "statistics.json").write_text(json.dumps(counts))
    training._say_what_is_left_out(job)
    (text,) = said
    assert text.startswith("warning: train: 1 image has more than the 3 objects")
    assert "leaves out 2 boxes" in text


def test_a_checkpoint_by_the_clock(plain_run, examples, tmp_path, no_export):
    settings = {"checkpoint_every_minutes": 1e-9, "checkpoint_every_steps": 10}
    tiny_run.train(tmp_path, examples, **settings)
    for one, two in zip(tiny_run.history(plain_run[0]), tiny_run.history(tmp_path), strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    names = sorted(path.name for path in (tmp_path / "work/checkpoints").iterdir())
    assert names == [f"step-{step:09d}.npz" for step in (8, 9, 10)]
