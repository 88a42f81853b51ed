"""Which training stages of a pipeline came to their end in an earlier run."""

import json

from tfx.orchestration.pipeline import Pipeline

from pipelines.request import Request
from pix2seq_model.experiment.validation import evaluation_settings, stage_settings
from pix2seq_model.training.train import is_trained


def trained_before(request: Request, pipeline: Pipeline) -> set[str]:
    """Ids of the nodes whose training is over: run again, they write their model and no more.

    Args:
      request: what was asked for.
      pipeline: its pipeline, for a run on this machine.
    """
    stages = {stage.capitalize(): stage for stage in request.training_stages}
    evaluation, _ = evaluation_settings(request.config.evaluation)
    return {
        node.id
        for node in pipeline.components
        if node.id in stages
        and is_trained(
            stage_settings(request.config, stages[node.id]),
            json.loads(node.exec_properties["custom_config"])["work_dir"],
            evaluation=evaluation,
        )
    }
