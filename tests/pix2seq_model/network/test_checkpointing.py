import pytest

from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.network.checkpointing import LAYERS, NONE, PRODUCTS, way


@pytest.mark.parametrize(
    ("value", "name"),
    [(True, LAYERS), (False, NONE), ("true", LAYERS), ("False", NONE), (PRODUCTS, PRODUCTS)],
)
def test_truth_values_are_names(value, name):
    assert way(value) == name


def test_other_values_stay_to_be_refused():
    for value in (1, 0, 2.0, "on", None):
        assert way(value) is value


def test_configs_take_names_and_truth_values(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from configs import demo\n"
        "def get_config():\n"
        "    config = demo.get_config()\n"
        "    config.finetune.activation_checkpointing = True\n"
        "    config.pretrain.activation_checkpointing = 'products'\n"
        "    return config\n"
    )
    config = load_config(str(file))
    found = [
        training_run(config, stage).settings.activation_checkpointing
        for stage in ("pretrain", "finetune")
    ]
    assert found == [PRODUCTS, LAYERS]
    again = load_config("configs/demo.py", ["finetune.activation_checkpointing=True"])
    assert training_run(again, "finetune").settings.activation_checkpointing == LAYERS
