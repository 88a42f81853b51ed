"""The estimate of a step next to what XLA says of the compiled step. Runs on Keras' JAX backend."""

from typing import Any

import jax

from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.training.jax_step import JaxStep
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.step_trace import trace_step
from pix2seq_model.training.training_model import fresh_training_model

_SMALL = (
    *("model.num_encoder_layers=2", "model.num_decoder_layers=2", "model.drop_units=0.0"),
    *("model.dim_encoder=256", "model.mlp_dim_encoder=1024", "model.num_heads_encoder=4"),
    *("model.dim_decoder=256", "model.mlp_dim_decoder=1024", "model.num_heads_decoder=4"),
    *("finetune.sequence.max_objects=20", "evaluation.max_objects=20", "finetune.batch_size=4"),
)


def small_run(name: str, *overrides: str) -> TrainingRun:
    """A small relative of a published network."""
    config = load_config(
        f"configs/coco_finetune.py:{name},640", [*_SMALL, *overrides], stage="finetune"
    )
    return training_run(config, "finetune")


def published_step(network: str, size: str, batch_size: str) -> TrainingRun:
    """Fine-tuning of a published network, whole."""
    overrides = [f"finetune.image_size={size}", f"finetune.batch_size={batch_size}"]
    config = load_config(f"configs/coco_finetune.py:{network},640", overrides, stage="finetune")
    return training_run(config, "finetune")


def compared(run: TrainingRun) -> dict[str, float]:
    """Bytes and operations of a step, estimated and compiled, and the differences."""
    costs = trace_step(run, flash_attention=False, processor=True)
    batch_size = run.settings.batch_size
    memory = costs.weights + costs.optimizer + costs.other_state + costs.inputs
    memory += costs.peak(batch_size)
    operations = (costs.products + costs.elementwise).at(batch_size)
    compiled = _compiled(run)
    sizes = compiled.memory_analysis()
    new = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    bytes_compiled = sizes.argument_size_in_bytes + sizes.temp_size_in_bytes + new
    operations_compiled = compiled.cost_analysis()["flops"]
    return {
        "bytes": memory.at(batch_size),
        "bytes_compiled": float(bytes_compiled),
        "bytes_difference": memory.at(batch_size) / bytes_compiled - 1,
        "operations": operations,
        "operations_compiled": operations_compiled,
        "operations_difference": operations / operations_compiled - 1,
    }


def _compiled(run: TrainingRun):
    settings = run.settings
    step = JaxStep(fresh_training_model(run))
    height, width = run.model.image_size
    tokens = (settings.batch_size, 5 * settings.sequence.max_objects)
    shape = jax.ShapeDtypeStruct
    images = shape((settings.batch_size, height, width, 3), settings.image_dtype)
    inputs = {"image": images, "tokens": shape(tokens, "int32")}
    batch = (inputs, shape(tokens, "int32"), shape(tokens, "float32"))
    return lowered(step, batch).compile()


def lowered(step: JaxStep, batch: Any) -> jax.stages.Lowered:
    """A step as XLA is given it; once compiled, the step's own first call compiles nothing.

    Args:
      step: that has not been taken yet.
      batch: or its shapes.
    """
    state = [[variable.value for variable in group] for group in step._variables]
    frozen = [variable.value for variable in step.model.frozen_variables]
    return step._step.lower(state, batch, frozen)
