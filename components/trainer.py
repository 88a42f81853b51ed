"""TFX's Trainer with one more parameter: overrides of the config that a submission may set.

The training runs in the step; `custom_job_trainer` starts a job of its own on Vertex AI instead.
"""

import hashlib
import json
from typing import Any

from tfx import types
from tfx.components.trainer import executor as trainer_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.remembered_failure import remembered
from components.specs import Artifacts, parameters

RUN_FN = "components.trainer_module.run_fn"
# In `custom_config`: where a failure for good is noted, see `remembered`.
FAILURE_NOTE = "failure_note"


class TrainerSpec(standard_component_specs.TrainerSpec):
    """TFX's, with `overrides`."""

    PARAMETERS = standard_component_specs.TrainerSpec.PARAMETERS | parameters(overrides=str)


class Executor(trainer_executor.GenericExecutor):
    """Trains in this process."""

    def Do(  # noqa: N802
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        config = json.loads(exec_properties["custom_config"])
        with remembered(config.get(FAILURE_NOTE, "")):
            super().Do(input_dict, output_dict, with_overrides(exec_properties))


def with_overrides(exec_properties: dict[str, Any]) -> dict[str, Any]:
    """Adds the submission's overrides, "section.field=value" between blanks, to the config's.

    They make another training, with its own folder of checkpoints.
    """
    given = exec_properties.get("overrides") or ""
    if not given.split():
        return exec_properties
    config = json.loads(exec_properties["custom_config"])
    config["overrides"] = [*config["overrides"], *given.split()]
    digest = hashlib.sha256("\n".join(given.split()).encode()).hexdigest()[:16]
    config["work_dir"] = f"{config['work_dir']}-{digest}"
    return {**exec_properties, "custom_config": json.dumps(config), "overrides": ""}


class Trainer(base_component.BaseComponent):
    """Trains one stage on a split of `examples`, from `base_model` or from random weights."""

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        base_model: types.BaseChannel | None,
        split: str,
        custom_config: dict[str, Any],
        overrides: str | RuntimeParameter = "",
    ) -> None:
        """
        Args:
          examples: examples folder.
          base_model: model folder to start from.
          split: of the examples.
          custom_config: what `trainer_module.run_fn` reads.
          overrides: of the config, between blanks; counts after those of `custom_config`.
        """
        super().__init__(
            spec=TrainerSpec(
                examples=examples,
                base_model=base_model,
                run_fn=RUN_FN,
                train_args=trainer_pb2.TrainArgs(splits=[split]),
                eval_args=trainer_pb2.EvalArgs(splits=[split]),  # Not read, but must exist.
                custom_config=json_utils.dumps(custom_config),
                overrides=overrides,
                model=types.Channel(type=standard_artifacts.Model),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
            )
        )
