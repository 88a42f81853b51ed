"""The stages that make records: the conversion, its report, and what looks at data in a bucket."""

import json
from typing import Any

from tfx.dsl.components.base import base_node
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.orchestration.data_types import RuntimeParameter

from components.data_report import DataReport
from components.data_version import DataVersion
from components.digest import digest_of
from components.example_gen import ExampleGen
from pipelines import cache_keys
from pipelines.request import Request
from pipelines.stage_versions import code_version_of, data_digest, parameter, report_version
from pix2seq_model.experiment.validation import vocabulary

# What of a `data` section does not decide what a record holds: places count by what lies there.
_NOT_IN_RECORDS = ("images", "annotations", "max_defect_fraction")


def examples_of(request: Request, stage: str) -> tuple[list[base_node.BaseNode], ExampleGen]:
    """The conversion of a stage's data, and the steps before it that look at them."""
    config, section = request.config, f"data.{stage}"
    code_version = code_version_of(request, "components.example_gen", "apache-beam", "pillow")
    name = f"{config.name} {stage}"
    max_category_id = vocabulary(config).max_category_id
    source = {**config.data[stage].to_dict(), "max_category_id": max_category_id}
    given = parameter(request, f"{stage}_data")
    versions, version = version_of_data(
        request,
        f"{stage.capitalize()}DataVersion",
        source=source,
        section=section,
        given=given,
        data_version=parameter(request, "data_version", request.data_version),
    )
    fingerprint = ""
    if request.cloud is None:
        fingerprint = data_digest(request, stage)
        settings = cache_keys.settings_digest(config, ["seed"])
        lineage = digest_of(fingerprint, code_version, settings)
    else:
        # Whatever decides what a record holds besides the data, whose version goes behind it:
        # neither the image nor the workers, so that records are found by a run with others.
        kept = {n: value for n, value in source.items() if n not in _NOT_IN_RECORDS}
        decided = json.dumps([kept, name, config.seed], sort_keys=True)
        lineage = digest_of(decided, code_version)
    node = ExampleGen(
        source=source,
        section=section,
        given=given,
        name=name,
        seed=config.seed,
        work_dir=f"{request.pipeline_root}/conversion/{stage}-{lineage}",
        fingerprint=fingerprint,
        data_version=version,
        code_version=code_version,
    )
    arguments = list(request.beam_args)
    if request.cloud is not None and "--runner=DataflowRunner" not in arguments:
        node.with_platform_config(request.cloud.conversion_resources())
        arguments = [*request.cloud.workers_in_step, *arguments]  # Those given go before these.
    node = node.with_beam_pipeline_args(arguments).with_id(f"{stage.capitalize()}Examples")
    return versions, node


def version_of_data(
    request: Request,
    node_id: str,
    *,
    source: dict[str, Any],
    section: str,
    given: str | RuntimeParameter = "",
    data_version: str | RuntimeParameter = "",
) -> tuple[list[base_node.BaseNode], str | Placeholder]:
    """A step that finds out what lies in a bucket when the pipeline runs, and what it says.

    A run on this machine has none: it looks before.
    """
    if request.cloud is None:
        return [], ""
    node = DataVersion(
        source=source, section=section, given=given, data_version=data_version
    ).with_id(node_id)
    return [node], node.outputs["version"].future()[0].value


def data_report_of(request: Request, stage: str, examples: ExampleGen) -> base_node.BaseNode:
    """The page about a stage's records."""
    return DataReport(
        examples=examples.outputs["examples"],
        code_version=report_version(request, "components.data_report"),
    ).with_id(f"{stage.capitalize()}DataReport")
