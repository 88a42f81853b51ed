"""The pipeline on a handful of real photographs in COCO 2017 layout: a smoke test on real input.

    python pipelines/run_pipeline.py --config=configs/coco_sample.py:../shared/coco_sample

The argument is the folder that holds `images/` and `annotations/`. Some dozen photographs teach a
network nothing that holds on others: whatever AP comes out is accepted.
"""

from ml_collections import ConfigDict

from configs import base, demo


def get_config(folder: str = "../shared/coco_sample") -> ConfigDict:
    config = demo.get_config()
    config.name = "coco_sample"
    config.vocabulary = base.get_config().vocabulary
    config.model.max_seq_len = 128
    config.pretrain.enabled = False
    annotations = f"{folder}/annotations/instances_{{split}}2017.json"
    config.data.finetune = base.data_source("coco", f"{folder}/images/{{split}}2017", annotations)
    config.finetune.update(image_size=(128, 128), batch_size=8, steps=200)
    config.finetune.sequence.max_objects = 25
    config.evaluation.max_objects = 25
    config.evaluation.min_metrics.AP = 0.0
    return config
