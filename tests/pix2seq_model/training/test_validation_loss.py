import types

import pytest

from pix2seq_model.errors import DataError
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.training import validation_loss
from tests.fixtures.records import encode_image, example, smooth_image, write_shards
from tests.fixtures.tiny_config import config


def test_damage_in_its_split_is_named_by_its_file(tmp_path, monkeypatch):
    """And not looked for in the split that is trained on."""
    box = [((0.1, 0.1, 0.8, 0.8), 1)]
    whole = encode_image(smooth_image(48, 64))
    sound = example("1", box, encoded=whole)
    damaged = example("2", box, encoded=whole[: len(whole) // 2])
    run = training_run(config(), "finetune")
    splits = {"train": [[sound]], run.evaluation.split: [[sound, damaged]]}
    folder, said = write_shards(tmp_path / "examples", splits), []
    monkeypatch.setattr(validation_loss, "compiled", lambda function, network: None)
    job = types.SimpleNamespace(
        examples_dir=folder, run=run, progress=types.SimpleNamespace(message=said.append)
    )
    loss = validation_loss.ValidationLoss(job, network=None)
    named = rf"Split-{run.evaluation.split}/.*record 1: image 2 .*convert the data set again"
    with pytest.raises(DataError, match=named):
        loss.measure()
    assert len(said) == 1
