"""What TFX's Trainer hands over, and what `train` is called with."""

import pytest
from tfx.components.trainer.fn_args_utils import FnArgs

from components import trainer_module


@pytest.fixture
def calls(monkeypatch):
    calls = []
    monkeypatch.setattr(
        trainer_module, "train", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    return calls


def _fn_args(root, **changes):
    fields = {
        "train_files": [f"{root}/Examples/examples/3/Split-train2017/*"],
        "serving_model_dir": f"{root}/Trainer/model/5/Format-Serving",
        "model_run_dir": f"{root}/Trainer/model_run/5",
        "base_model": None,
        "custom_config": {
            "config": "configs/demo.py",
            "overrides": ["finetune.steps=7", "finetune.warmup_steps=0"],
            "stage": "finetune",
            "work_dir": f"{root}/training/finetune-abc",
        },
    }
    return FnArgs(**{**fields, **changes})


@pytest.mark.parametrize("root", ["/data/pipeline", "gs://bucket/pipeline"])
def test_folders(calls, root):
    trainer_module.run_fn(_fn_args(root))
    (run,), folders = calls[0]
    assert run.stage == "finetune"
    assert run.settings.steps == 7
    assert folders == {
        "examples_dir": f"{root}/Examples/examples/3",
        "split": "train2017",
        "model_dir": f"{root}/Trainer/model/5",
        "work_dir": f"{root}/training/finetune-abc",
        "base_model_dir": None,
        "logs_dir": f"{root}/Trainer/model_run/5",
        "accelerators": None,
    }


def test_logs_go_where_a_tensorboard_of_vertex_ai_reads_them(calls, monkeypatch):
    monkeypatch.setenv("AIP_TENSORBOARD_LOG_DIR", "gs://b/model_run/logs/")
    trainer_module.run_fn(_fn_args("/p"))
    assert calls[0][1]["logs_dir"] == "gs://b/model_run/logs/"


def test_a_job_in_the_cloud_says_how_many_accelerators_it_pays_for(calls):
    config = _fn_args("/p").custom_config | {"accelerators": 8}
    trainer_module.run_fn(_fn_args("/p", custom_config=config))
    assert calls[0][1]["accelerators"] == 8


def test_the_base_model_is_a_model_folder(calls):
    trainer_module.run_fn(_fn_args("/p", base_model="/p/Pretrain/model/4/Format-Serving"))
    assert calls[0][1]["base_model_dir"] == "/p/Pretrain/model/4"
