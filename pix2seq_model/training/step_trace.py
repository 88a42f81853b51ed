"""What a training step takes in memory and operations, from an abstract trace: nothing is computed.

Traced are the forward and backward pass of the product's own network and loss; what the optimizer
does with the gradients it does in their place. JAX traces for shapes alone. cuDNN's attention,
which only a machine with a GPU can trace, is stood in for by an operation with the same inputs,
outputs and residuals.
"""

import contextlib
import dataclasses
import json
import math
import pickle
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from pix2seq_model.network import blocked_attention
from pix2seq_model.network.checkpointing import NONE
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT
from pix2seq_model.training.buffer_plan import live_bytes
from pix2seq_model.training.loss import total_weight
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.step_costs import Size, StepCosts, upper_envelope
from pix2seq_model.training.traced_program import FLASH, PRIME_BATCH, Program, size_of
from pix2seq_model.training.training_model import TrainingModel, fresh_training_model

# Of a weight: AdamW, the gradient's norm, the guard's choice between old and new.
_OF_A_WEIGHT = 30


def trace_step(run: TrainingRun, *, flash_attention: bool, processor: bool) -> StepCosts:
    """Traces a step of a stage on one device.

    Args:
      run: the stage.
      flash_attention: with cuDNN's kernel.
      processor: by XLA's rules for a CPU.
    """
    if processor:  # There XLA takes activations that are computed again for those that it has.
        settings = dataclasses.replace(run.settings, activation_checkpointing=NONE)
        run = dataclasses.replace(run, settings=settings)
    model, state, optimizer = _abstract_model(run)
    batch = _abstract_batch(run)

    def gradients(weights, states, frozen, batch):
        def loss_of(weights):
            total = total_weight(batch)
            loss, sums, states_after = model.forward(
                weights, states, batch, total=total, frozen=frozen
            )
            return loss, (sums, states_after)

        return jax.value_and_grad(loss_of, has_aux=True)(weights)

    with _attention(flash_attention):
        traced = jax.make_jaxpr(gradients)(*state, batch)
    program = Program(processor=processor)
    arguments = [program.new(variable.aval) for variable in traced.jaxpr.invars]
    results = program.add(traced.jaxpr, arguments)
    live = live_bytes(
        program.operations,
        program.sizes,
        arguments=arguments,
        results=results,
        processor=processor,
    )
    weights, states, frozen = state
    if processor:
        live.append(_update(weights, optimizer))
    parameters = sum(math.prod(weight.shape) for weight in weights)
    return StepCosts(
        parameters=parameters,
        weights=_total([*weights, *frozen]),
        optimizer=_total(optimizer),
        other_state=_total(states),
        inputs=_total(batch),
        peaks=tuple(upper_envelope(live)),
        products=program.products,
        elementwise=program.elementwise + Size(_OF_A_WEIGHT * parameters),
    )


def _update(weights: list, optimizer: list) -> Size:
    """What lives while a CPU updates the weights.

    All gradients, as their norm decides; copies of the optimizer's state, as copies are put in
    before XLA knows the order of those that read it; and the squares of kernels' gradients, which
    convolutions write in another order than that of the weights.
    """
    kernels = [
        weight for weight in weights if len(weight.shape) == 4 and weight.shape[:2] != (1, 1)
    ]
    return _total(weights) + _total(optimizer) + _total(kernels)


def _abstract_model(run: TrainingRun) -> tuple[TrainingModel, tuple[list, list, list], list]:
    """The model, whose variables hold nothing; its state and its optimizer's as shapes."""
    made: list[TrainingModel] = []

    def build():
        model = fresh_training_model(run)
        made.append(model)
        groups = (
            *(model.trainable_variables, model.state_variables, model.frozen_variables),
            model.optimizer.variables,
        )
        return [[variable.value for variable in group] for group in groups]

    weights, states, frozen, optimizer = jax.eval_shape(build)
    return made[0], (weights, states, frozen), optimizer


def _abstract_batch(run: TrainingRun) -> tuple:
    height, width = run.model.image_size
    tokens = (PRIME_BATCH, TOKENS_PER_OBJECT * run.settings.sequence.max_objects)
    shape = jax.ShapeDtypeStruct
    images = shape((PRIME_BATCH, height, width, 3), jnp.dtype(run.settings.image_dtype))
    inputs = {"image": images, "tokens": shape(tokens, jnp.int32)}
    return inputs, shape(tokens, jnp.int32), shape(tokens, jnp.float32)


def _total(leaves: Any) -> Size:
    return sum((size_of(leaf) for leaf in jax.tree.leaves(leaves)), Size())


@contextlib.contextmanager
def _attention(flash: bool) -> Iterator[None]:
    """Inside, Keras' attention is the kernel of a GPU, or the products and softmax of any machine.

    Keras decides by the machine it runs on, which is not the one that is asked about.
    """
    attend = _flash_attention if flash else jax.nn.dot_product_attention
    with (
        mock.patch.object(jax.nn, "dot_product_attention", attend),
        mock.patch.object(blocked_attention, "has_kernel", return_value=flash),
    ):
        yield


@jax.custom_vjp
def _flash(query, key, value):
    return _flash_forward(query, key, value)[0]


def _flash_forward(query, key, value):
    batch, length, heads, _ = query.shape
    softmax_sums = jax.ShapeDtypeStruct((batch, heads, length), jnp.float32)
    output = jax.ShapeDtypeStruct(query.shape, query.dtype)
    call = jax.ffi.ffi_call(FLASH, (output, softmax_sums))
    result, sums = call(query, key, value)
    return result, (query, key, value, result, sums)


def _flash_backward(kept, gradient):
    shapes = [jax.ShapeDtypeStruct(part.shape, part.dtype) for part in kept[:3]]
    return tuple(jax.ffi.ffi_call(f"{FLASH}_backward", shapes)(*kept, gradient))


_flash.defvjp(_flash_forward, _flash_backward)


def _flash_attention(query, key, value, **options):
    return _flash(query, key, value)


if __name__ == "__main__":  # A process of its own: see `step_cache`.
    asked_run, how = pickle.load(sys.stdin.buffer)
    print(json.dumps(trace_step(asked_run, **how).to_json()))
