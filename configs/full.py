"""Both stages: pretraining on Objects365, fine-tuning on COCO, evaluation on COCO val2017.

    python pipelines/run_pipeline.py --config=configs/full.py:vit_b,640

The argument is backbone,pixels of fine-tuning, as in `configs/coco_finetune.py`, where the
published results stand.
"""

from ml_collections import ConfigDict

from configs import coco_finetune, objects365_pretrain


def get_config(argument: str = "vit_b,640") -> ConfigDict:
    config = coco_finetune.get_config(argument)
    backbone, size = coco_finetune.parse(argument)
    config.name = f"full_{backbone}_{size}"
    config.data.pretrain = objects365_pretrain.objects365()
    config.pretrain = objects365_pretrain.pretrain_stage()
    config.finetune.start_from = ""
    return config
