"""TFX's Trainer with one more parameter: overrides of the config that a submission may set.

The training runs in the step; `custom_job_trainer` starts a job of its own on Vertex AI instead.
"""

import json
from typing import Any

from tfx import types
from tfx.components.trainer import executor as trainer_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.digest import digest_of
from components.remembered_failure import remembered
from components.specs import Artifacts, parameters
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.model_folder.folder import read_model_info

RUN_FN = "components.trainer_module.run_fn"
# In `custom_config`: where a failure for good is noted, see `remembered`.
FAILURE_NOTE = "failure_note"


class TrainerSpec(standard_component_specs.TrainerSpec):
    """TFX's, with what a submission sets, and what is found out when the pipeline runs."""

    PARAMETERS = standard_component_specs.TrainerSpec.PARAMETERS | parameters(
        overrides=str, given=str, start_version=str
    )


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

    They make another training, with its own folder of checkpoints. Places of data (`given`) do not:
    the records count by what they are.
    """
    given, places = ((exec_properties.get(name) or "").split() for name in ("overrides", "given"))
    if not given and not places:
        return exec_properties
    config = json.loads(exec_properties["custom_config"])
    config["overrides"] = [*config["overrides"], *given, *places]
    if given:
        config["work_dir"] = f"{config['work_dir']}-{digest_of(*given)}"
    changed = {"custom_config": json.dumps(config), "overrides": "", "given": ""}
    return {**exec_properties, **changed}


def with_inputs(exec_properties: dict[str, Any], input_dict: Artifacts) -> dict[str, Any]:
    """Gives a training a folder of checkpoints that belongs to its records and its base model.

    They count by the digests of what is in them: the same made again, by another image or in
    another place, continue where the training was.
    """
    found = []
    for examples in input_dict.get("examples") or []:
        found.append(read_dataset_info(examples.uri).fingerprint())
    for model in input_dict.get("base_model") or []:
        info = read_model_info(model.uri)
        found.append(info.weights_sha256 or repr(info))
    config = json.loads(exec_properties["custom_config"])
    config["work_dir"] = f"{config['work_dir']}-{digest_of(*found)}"
    return {**exec_properties, "custom_config": json.dumps(config)}


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
        given: str | RuntimeParameter = "",
        start_version: str | Placeholder = "",
    ) -> None:
        """
        Args:
          examples: examples folder.
          base_model: model folder to start from.
          split: of the examples.
          custom_config: what `trainer_module.run_fn` reads.
          overrides: of the config, between blanks; counts after those of `custom_config`.
          given: overrides of the places of the data, likewise.
          start_version: what `DataVersion` says of the place that `base_model` came from, so that
            the training runs again when another model lies there.
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
                given=given,
                start_version=start_version,
                model=types.Channel(type=standard_artifacts.Model),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
            )
        )
