"""Architecture and vocabulary of what training starts from."""

import dataclasses
import json

import pytest

from pix2seq_model.errors import ModelError
from pix2seq_model.experiment.start_model import read_start
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.tokens.vocabulary import Vocabulary
from tests.fixtures import published_layout, tiny_config


def test_published_places_are_known_by_name():
    model, vocabulary = read_start("gs://pix2seq/coco_det_finetune/vit_l_1024x1024/", "start_from")
    assert model == ModelConfig.published("vit_l", (1024, 1024))
    assert vocabulary == Vocabulary()


def test_a_model_folder(tmp_path):
    content = {
        "format_version": 2,
        "model": dataclasses.asdict(tiny_config.model_config()),
        "vocabulary": dataclasses.asdict(tiny_config.VOCABULARY),
        "categories": [],
        "max_objects": 3,
    }
    (tmp_path / "model.json").write_text(json.dumps(content))
    start = read_start(str(tmp_path), "start_from")
    assert start == (tiny_config.model_config(), tiny_config.VOCABULARY)


def test_a_checkpoint_in_the_published_layout(tmp_path):
    model = tiny_config.model_config(image_size=(32, 32))
    published_layout.write(tmp_path, build_model(model, tiny_config.VOCABULARY))
    found, vocabulary = read_start(str(tmp_path), "start_from")
    assert found.dim_encoder == model.dim_encoder
    assert vocabulary == tiny_config.VOCABULARY


def test_a_place_without_a_model_is_named_with_its_setting(tmp_path):
    with pytest.raises(ModelError, match=r"^finetune.start_from=.*: .*not a model folder"):
        read_start(str(tmp_path), "finetune.start_from")
