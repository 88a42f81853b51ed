"""Configs by name: found, called, overridden."""

import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config, loading
from pix2seq_model.experiment.loading import override_section


def test_overrides_take_the_type_of_the_setting():
    config = load_config(
        "configs/demo.py",
        [
            "finetune.steps=4e2",
            "finetune.image_size=64,80",
            "finetune.learning_rate=1",
            "pretrain.enabled=false",
            "evaluation.min_metrics.AP50=0.7",
            "push.destination=/srv/models",
        ],
    )
    assert config.finetune.steps == 400
    assert config.finetune.image_size == (64, 80)
    assert config.finetune.learning_rate == 1.0
    assert config.pretrain.enabled is False
    assert config.evaluation.min_metrics.AP50 == 0.7
    assert config.push.destination == "/srv/models"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("finetune.step=4", "did you mean finetune.steps"),
        ("finetune.steps=many", "finetune.steps='many' cannot be read as int"),
        ("finetune.steps=2.5", "must be a whole number"),
        ("finetune.steps=True", "finetune.steps='True' is bool; it must be int"),
        ("finetune", "write section.field=value"),
        ("finetune=3", "is a section"),
    ],
)
def test_overrides_that_cannot_be_read_are_refused(override, message):
    with pytest.raises(ConfigError) as caught:
        load_config("configs/demo.py", [override])
    assert message in str(caught.value)


def test_an_open_section_may_be_empty(tmp_path):
    config = tmp_path / "mine.py"
    config.write_text(
        "from configs import demo\n"
        "def get_config():\n"
        "  config = demo.get_config()\n"
        "  config.evaluation.min_metrics = type(config)()\n"
        "  return config\n"
    )
    loaded = load_config(str(config), ["evaluation.min_metrics.AP=0.5"])
    assert loaded.evaluation.min_metrics.to_dict() == {"AP": 0.5}


def test_a_section_is_overridden_alone():
    section = {"top_k": 1, "top_p": 0.5}
    assert override_section(section, "evaluation", ["evaluation.top_k=3"]) == {
        "top_k": 3,
        "top_p": 0.5,
    }
    with pytest.raises(ConfigError, match=r"section evaluation has no setting 'finetune.steps'"):
        override_section(section, "evaluation", ["finetune.steps=3"])


def test_the_project_s_configs_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("configs/demo.py").name == "demo"
    # As an installation that lost them.
    monkeypatch.setattr(loading, "_PROJECT_ROOT", tmp_path)
    with pytest.raises(ConfigError, match=r"no configs where it is installed.*give the path"):
        load_config("configs/demo.py")


def test_missing_and_broken_config_files(tmp_path):
    with pytest.raises(ConfigError, match=r"does not exist in .*; this project has .*configs/demo"):
        load_config("configs/dmeo.py")
    for near in ("configs/dmeo.py", "demo", "demo.py", "/elsewhere/configs/demo.py"):
        with pytest.raises(ConfigError, match=r"Did you mean configs/demo\.py\?"):
            load_config(near)
    broken = tmp_path / "broken.py"
    broken.write_text("def get_config(:\n")
    with pytest.raises(ConfigError, match=r"broken.py cannot be read: SyntaxError"):
        load_config(str(broken))
    with pytest.raises(ConfigError, match="give backbone,pixels"):
        load_config("configs/coco_finetune.py:vit_b,512")
    with pytest.raises(ConfigError, match="takes no argument"):
        load_config("configs/demo.py:large")
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from configs import demo\n"
        "def get_config():\n"
        "  config = demo.get_config()\n"
        "  config.finetune.steps = 'many'\n"
        "  return config\n"
    )
    with pytest.raises(ConfigError, match=r"wrong.py cannot be read: TypeError"):
        load_config(str(wrong))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("finetune.stepss = 400", "finetune.stepss is no setting; did you mean finetune.steps?"),
        ("finetune.sequence.max_object = 4", "did you mean finetune.sequence.max_objects?"),
        ("data.finetune.fromat = 'coco'", "did you mean data.finetune.format?"),
        ("cloud.training.presett = 'none'", "did you mean cloud.training.preset?"),
        # Of a stage that is not part of the experiment, too.
        ("pretrain.stepss = 400", "pretrain.stepss is no setting; did you mean pretrain.steps?"),
        ("pretrain.augmentation.filp = False", "did you mean pretrain.augmentation.flip?"),
        ("data.pretrain.fromat = 'coco'", "did you mean data.pretrain.format?"),
        ("pretrain.sequence = 3", "pretrain.sequence is a section, not a setting: 3"),
        ("data.fintune = 3", "data.fintune is no setting; did you mean data.finetune?"),
        ("seeds = 3", "seeds is no setting; did you mean seed?"),
        ("modle = 3", "modle is no setting; did you mean model?"),
        ("x = 'blue'", "x is no setting."),
    ],
)
def test_names_in_a_file_that_are_no_settings_are_refused(tmp_path, line, message):
    file = tmp_path / "mine.py"
    file.write_text(
        "from configs import demo\n"
        "def get_config():\n"
        "  config = demo.get_config()\n"
        "  config.pretrain.enabled = False\n"
        f"  with config.ignore_type():\n    config.{line}\n"
        "  return config\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(str(file))
    assert message in str(caught.value)
