"""The pipeline: which stages there are, what each is given, and whose output it takes.

    PretrainExamples -> Pretrain -+
                                  v
    FinetuneExamples ---------> Finetune -> CocoEvaluator -> ModelPusher
            +-------------------------------^   ^   +------> EvaluationReport
                                  LatestBlessedModel

Reports are separate stages (`PretrainDataReport` and `FinetuneDataReport` too), so that their look
can change without anything else running again. No other stage depends on them.

Fine-tuning starts from what this pipeline pretrained, or from what the config names in
`start_from`, never from "the latest model": a model folder, or a published checkpoint, which
`FinetuneCheckpoint` then imports. The same graph runs here and on Vertex AI, where a `DataVersion`
goes before each step that reads from a bucket: `PretrainDataVersion`, `FinetuneDataVersion`,
`FinetuneStartVersion`, `GroundTruthVersion`. Here what is read is looked at before the run.
"""

import dataclasses
import json

from tfx import types
from tfx.dsl.components.base import base_node
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies import latest_blessed_model_strategy
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from components.checkpoint_importer import CheckpointImporter
from components.coco_evaluator import REPORT_SETTINGS, CocoEvaluator
from components.digest import digest_of
from components.evaluation_report import EvaluationReport
from components.example_gen import ExampleGen
from components.model_pusher import ModelPusher
from components.trainer import Trainer
from components.vertex_registry import registry_settings
from pipelines import cache_keys
from pipelines.data_stages import data_report_of, examples_of, version_of_data
from pipelines.keras_backend import keras_backend
from pipelines.request import Request
from pipelines.stage_versions import code_version_of, data_digest, parameter, report_version
from pix2seq_model.decoding.settings import SamplingSettings
from pix2seq_model.evaluation.settings import MEASURING_SETTINGS
from pix2seq_model.published.locations import PUBLISHED_CHECKPOINTS, is_checkpoint
from pix2seq_model.training.settings import ENDING_SETTINGS, evaluations_decide_weights

# How the exported model decodes: changing it exports the trained weights again, no more.
_DECODING = [field.name for field in dataclasses.fields(SamplingSettings)]
_EXPORT_SETTINGS = [f"evaluation.{name}" for name in (*_DECODING, "seed", "resize")]
# How a training with evaluations measures: these among them.
# Packages that measure.
_MEASURES = ("hotcoco",)
_MEASURING_SETTINGS = [f"evaluation.{name}" for name in MEASURING_SETTINGS]

# Node ids, the stage each belongs to, and what people read; other nodes only look something up.
NODES = {
    "PretrainExamples": ("convert", "Convert the pretraining data"),
    "FinetuneExamples": ("convert", "Convert the fine-tuning data"),
    "PretrainDataReport": ("convert", "Report on the pretraining data"),
    "FinetuneDataReport": ("convert", "Report on the fine-tuning data"),
    "PretrainCheckpoint": ("pretrain", "Import the checkpoint"),
    "Pretrain": ("pretrain", "Pretrain"),
    "FinetuneCheckpoint": ("finetune", "Import the checkpoint"),
    "Finetune": ("finetune", "Fine-tune"),
    "CocoEvaluator": ("evaluate", "Evaluate"),
    "EvaluationReport": ("evaluate", "Report on the evaluation"),
    "ModelPusher": ("push", "Push"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Trained:
    """A model, and the digest of all that it came from.

    Attributes:
      model: the model.
      lineage: as far as it is known before the run.
      version: what its `DataVersion` says, if it has one.
    """

    model: types.BaseChannel
    lineage: str
    version: str | Placeholder = ""


def create_pipeline(request: Request) -> Pipeline:
    """Assembles the requested stages and those they depend on.

    Raises:
      DataError: data or a model that the config names is not there.
    """
    root = request.pipeline_root
    nodes: list[base_node.BaseNode] = []
    examples = {}
    for stage in request.converted:
        versions, examples[stage] = examples_of(request, stage)
        nodes += [*versions, examples[stage]]
    if "convert" in request.stages:
        nodes += [data_report_of(request, stage, node) for stage, node in examples.items()]
    trained: _Trained | None = None
    for stage in request.training_stages:
        if stage in request.needed:
            if request.config[stage].start_from:
                before, trained = _imported(request, stage)
                nodes += before
            trainer, trained = _training(request, stage, examples[stage], trained)
            nodes.append(trainer)
    if "evaluate" in request.needed:
        assert trained is not None  # A config without a stage is refused when it is loaded.
        evaluated = examples[request.training_stages[-1]]
        latest = Resolver(
            strategy_class=latest_blessed_model_strategy.LatestBlessedModelStrategy,
            model=types.Channel(type=standard_artifacts.Model),
            model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
        ).with_id("LatestBlessedModel")
        versions, evaluator = _evaluation(request, evaluated, trained, latest)
        nodes += [latest, *versions, evaluator]
        if "evaluate" in request.stages:
            nodes.append(_evaluation_report(request, evaluated, trained, evaluator))
        if "push" in request.needed:
            nodes.append(_push(request, trained, evaluator))
    store = None
    if request.cloud is None:
        store = metadata.sqlite_metadata_connection_config(f"{root}/metadata.sqlite")
    return Pipeline(
        pipeline_name=request.pipeline_name,
        pipeline_root=root,
        components=nodes,
        enable_cache=request.use_cache,
        metadata_connection_config=store,
    )


def _imported(request: Request, stage: str) -> tuple[list[base_node.BaseNode], _Trained]:
    place = request.place(request.config[stage].start_from)
    digest = cache_keys.model_digest(place, f"{stage}.start_from", look=request.cloud is None)
    versions: list[base_node.BaseNode] = []
    version: str | Placeholder = ""
    if place.rstrip("/") not in PUBLISHED_CHECKPOINTS.values():  # They stay as they are.
        versions, version = version_of_data(
            request,
            f"{stage.capitalize()}StartVersion",
            source={"start_from": place},
            section=stage,
        )
    if is_checkpoint(place):
        code_version = code_version_of(request, "components.checkpoint_importer", "keras")
        node = CheckpointImporter(
            checkpoint=place, fingerprint=version or digest, code_version=code_version
        ).with_id(f"{stage.capitalize()}Checkpoint")
        lineage = digest_of(digest, code_version)
        return [*versions, node], _Trained(model=node.outputs["model"], lineage=lineage)
    node = Importer(
        source_uri=place,
        artifact_type=standard_artifacts.Model,
        # Another model in the same folder is another artifact.
        custom_properties={"model_digest": digest},
    ).with_id(f"{stage.capitalize()}Start")
    start = _Trained(model=node.outputs["result"], lineage=digest, version=version)
    return [*versions, node], start


def _training(
    request: Request, stage: str, examples: ExampleGen, before: _Trained | None
) -> tuple[Trainer, _Trained]:
    settings = request.config[stage]
    sections = ["seed", "vocabulary", "model", stage]
    # Evaluations while training write the history; with some settings they decide the weights.
    is_measured = bool(settings.evaluate_every_steps)
    exported = [*sections, *(_MEASURING_SETTINGS if is_measured else _EXPORT_SETTINGS)]
    # The backends' random numbers differ, so a run cannot change from one to the other.
    backend = keras_backend()
    run = digest_of(
        cache_keys.settings_digest(
            request.config,
            [*sections, *(_MEASURING_SETTINGS if settings.keep_best else ())],
            in_run=True,
        ),
        data_digest(request, stage),
        request.code_version
        or cache_keys.weights_digest(
            "components.trainer_module", best_by_evaluation=settings.keep_best
        ),
        backend,
        cache_keys.package_versions("keras", *(_MEASURES if settings.keep_best else ())),
        before.lineage if before else "random weights",
    )
    lineage = run
    if evaluations_decide_weights(settings):  # When it ends, too, which is not the run's.
        ending = [f"{stage}.{name}" for name in ENDING_SETTINGS]
        lineage = digest_of(
            run,
            cache_keys.settings_digest(request.config, [*ending, *_MEASURING_SETTINGS]),
            request.code_version
            or cache_keys.weights_digest("components.trainer_module", best_by_evaluation=True),
            cache_keys.package_versions(*_MEASURES),
        )
    custom_config = {
        "config": request.config_name,
        "overrides": request.overrides_of([*exported, "logging", f"data.{stage}"]),
        "stage": stage,
        # The same for the same training: an interrupted one continues from its checkpoints. On
        # Vertex AI the step adds what its inputs are.
        "work_dir": f"{request.pipeline_root}/training/{stage}-{run}",
        # Not read by the trainer: it runs again when they change.
        "settings_digest": cache_keys.settings_digest(request.config, exported),
        "code_version": code_version_of(
            request, "components.trainer_module", "keras", *(_MEASURES if is_measured else ())
        ),
        "backend": backend,
    }
    trainer_class: type[Trainer] = Trainer
    if request.cloud is not None:
        from components.custom_job_trainer import CustomJobTrainer  # Takes seconds to import.

        trainer_class = CustomJobTrainer
        custom_config |= request.cloud.training_job(stage, request.pipeline_name, backend=backend)
    node = trainer_class(
        examples=examples.outputs["examples"],
        base_model=before.model if before else None,
        split=settings.split,
        custom_config=custom_config,
        overrides=parameter(request, f"{stage}_overrides"),
        given=parameter(request, f"{stage}_data"),
        start_version=before.version if before else "",
    ).with_id(stage.capitalize())
    return node, _Trained(model=node.outputs["model"], lineage=lineage)


def baseline_of(request: Request) -> str:
    """Which blessed models a new one is compared with: those of this pipeline, on these data."""
    stage = request.training_stages[-1]
    data = cache_keys.source_digest(request.config.data[stage], f"data.{stage}", look=False)
    return f"{request.pipeline_name}-{data}"


def _evaluation(
    request: Request, examples: ExampleGen, trained: _Trained, latest: Resolver
) -> tuple[list[base_node.BaseNode], CocoEvaluator]:
    settings = request.config.evaluation.to_dict()
    overrides = parameter(request, "evaluation_overrides")
    versions: list[base_node.BaseNode] = []
    truth: str | Placeholder = ""
    stage, truth_of = request.training_stages[-1], ""
    if given := settings["ground_truth"]:
        place = settings["ground_truth"] = request.place(given)
        if request.cloud is None:
            truth = cache_keys.file_digest(place, "evaluation.ground_truth")
        elif given == request.config.data[stage].annotations.get(settings["split"]):
            truth_of = f"data.{stage}.annotations.{settings['split']}"
            truth = examples.exec_properties["data_version"]
        else:
            versions, truth = version_of_data(
                request,
                "GroundTruthVersion",
                source={"ground_truth": place},
                section="evaluation",
                given=overrides,
            )
    version = code_version_of(request, "components.coco_evaluator", *_MEASURES, "keras", "pillow")
    node = CocoEvaluator(
        examples=examples.outputs["examples"],
        model=trained.model,
        baseline_model=latest.outputs["model"],
        settings={name: settings[name] for name in settings if name not in REPORT_SETTINGS},
        cache_dir=f"{request.pipeline_root}/evaluation_cache",
        fingerprint=truth,
        code_version=version,
        overrides=overrides,
        accelerators=request.cloud.evaluation_accelerators if request.cloud else "",
        baseline_of=baseline_of(request),
        truth_of=truth_of,
        given=parameter(request, f"{stage}_data"),
    )
    if request.config.evaluation.on_beam:
        node.with_beam_pipeline_args(list(request.beam_args))
    if request.cloud is not None:
        node.with_platform_config(request.cloud.evaluation_resources(accelerator=True))
    return versions, node.with_id("CocoEvaluator")


def _evaluation_report(
    request: Request, examples: ExampleGen, trained: _Trained, evaluator: CocoEvaluator
) -> base_node.BaseNode:
    settings = {name: request.config.evaluation[name] for name in REPORT_SETTINGS}
    node = EvaluationReport(
        evaluation=evaluator.outputs["evaluation"],
        examples=examples.outputs["examples"],
        model=trained.model,
        settings=json.dumps(settings, sort_keys=True),
        code_version=report_version(request, "components.evaluation_report"),
        overrides=parameter(request, "evaluation_overrides"),
    ).with_id("EvaluationReport")
    if request.cloud is not None:
        node.with_platform_config(request.cloud.evaluation_resources(accelerator=False))
    return node


def _push(request: Request, trained: _Trained, evaluator: CocoEvaluator) -> base_node.BaseNode:
    settings = request.config.push
    destination = settings.destination or f"{request.pipeline_root}/serving_model"
    return ModelPusher(
        model=trained.model,
        model_blessing=evaluator.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        destination=parameter(request, "push_destination", request.place(destination)),
        registry=registry_settings(settings.to_dict(), **_surroundings(request)),
    ).with_id("ModelPusher")


def _surroundings(request: Request) -> dict[str, object]:
    """What a registry takes over from the job; on this machine the config must say the place."""
    cloud = request.config.cloud
    names = ("service_account", "encryption_key")
    common = {"alias": request.pipeline_name, **{name: cloud[name] for name in names}}
    if request.cloud is None:
        return {**common, "labels": cloud.labels.to_dict()}
    return {
        **common,
        "labels": request.cloud.labels(request.pipeline_name),
        "project": request.cloud.project,
        "region": request.cloud.region,
    }
