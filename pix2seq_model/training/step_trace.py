"""What a training step takes in memory and operations, from an abstract trace: nothing is computed.

Traced are the forward and backward pass of the product's own network and loss; what the optimizer
does with the gradients it does in their place. JAX traces for shapes alone, with a batch so large
a prime that a size with that factor grows with the batch, and no other does. cuDNN's attention,
which only a machine with a GPU can trace, is stood in for by an operation with the same inputs,
outputs and residuals.
"""

import contextlib
import json
import math
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.network.remat import recompute_activations
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT
from pix2seq_model.training.buffer_plan import ELEMENTWISE, Operation, live_bytes
from pix2seq_model.training.loss import total_weight
from pix2seq_model.training.optimizer import make_optimizer
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.step_costs import Size, StepCosts, upper_envelope
from pix2seq_model.training.training_model import TrainingModel

_PRIME_BATCH = 100_003
_FLASH = "flash_attention"
# Operations of an element where they are more than one: XLA's expansion of them.
_OF_AN_ELEMENT = {"erfc": 30, "random_bits": 100, "logistic": 4, "pow": 1}
# Of a weight: AdamW, the gradient's norm, the guard's choice between old and new.
_OF_A_WEIGHT = 30
_MOVES = {
    *("bitcast_convert_type", "broadcast_in_dim", "concatenate", "copy", "iota", "pad"),
    *("slice", "split"),
}


def trace_step(run: TrainingRun, *, flash_attention: bool) -> StepCosts:
    """Traces a step of a stage on one device.

    Args:
      run: the stage.
      flash_attention: with cuDNN's kernel.
    """
    model, state, optimizer = _abstract_model(run)
    batch = _abstract_batch(run)

    def gradients(weights, states, batch):
        def loss_of(weights):
            total = total_weight(batch)
            loss, sums, states_after = model.forward(weights, states, batch, total=total)
            return loss, (sums, states_after)

        return jax.value_and_grad(loss_of, has_aux=True)(weights)

    with _attention(flash_attention):
        traced = jax.make_jaxpr(gradients)(*state, batch)
    program = _Program()
    arguments = [program.new(variable.aval) for variable in traced.jaxpr.invars]
    results = program.add(traced.jaxpr, arguments)
    live = live_bytes(program.operations, program.sizes, arguments=arguments, results=results)
    weights, states = state
    parameters = sum(math.prod(weight.shape) for weight in weights)
    return StepCosts(
        parameters=parameters,
        weights=_total(weights),
        optimizer=_total(optimizer),
        other_state=_total(states),
        inputs=_total(batch),
        peaks=tuple(upper_envelope(live)),
        products=program.products,
        elementwise=program.elementwise + Size(_OF_A_WEIGHT * parameters),
    )


def _abstract_model(run: TrainingRun) -> tuple[TrainingModel, tuple[list, list], list]:
    """The model, whose variables hold nothing; its state and its optimizer's as shapes."""
    made: list[TrainingModel] = []

    def build():
        settings = run.settings
        network = build_model(run.model, run.vocabulary, precision=settings.precision)
        if settings.activation_checkpointing:
            recompute_activations(network)
        model = TrainingModel(
            network,
            make_optimizer(settings, network.trainable_variables),
            vocabulary=run.vocabulary,
            label_smoothing=settings.label_smoothing,
        )
        made.append(model)
        groups = (model.trainable_variables, model.state_variables, model.optimizer.variables)
        return [[variable.value for variable in group] for group in groups]

    weights, states, optimizer = jax.eval_shape(build)
    return made[0], (weights, states), optimizer


def _abstract_batch(run: TrainingRun) -> tuple:
    height, width = run.model.image_size
    tokens = (_PRIME_BATCH, TOKENS_PER_OBJECT * run.settings.sequence.max_objects)
    shape = jax.ShapeDtypeStruct
    images = shape((_PRIME_BATCH, height, width, 3), jnp.float32)
    inputs = {"image": images, "tokens": shape(tokens, jnp.int32)}
    return inputs, shape(tokens, jnp.int32), shape(tokens, jnp.float32)


def _total(leaves: Any) -> Size:
    return sum((_size(leaf) for leaf in jax.tree.leaves(leaves)), Size())


def _size(value: Any, *, itemsize: int | None = None) -> Size:
    """The bytes of a value with a shape."""
    if itemsize is None:
        # Keys of random generators have no NumPy type.
        itemsize = getattr(value.dtype, "itemsize", 8)
    return _scaled(math.prod(value.shape) * itemsize)


def _scaled(number: int) -> Size:
    return Size(0.0, number // _PRIME_BATCH) if number % _PRIME_BATCH == 0 else Size(number)


# ---- The program. --------------------------------------------------------------------------------


class _Program:
    """The operations of a traced function, with those of the functions that it calls.

    Attributes:
      operations: in their order.
      sizes: of the values, by their number.
      products, elementwise: see `StepCosts`.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.sizes: list[Size] = []
        self.products = self.elementwise = Size()

    def new(self, aval: Any) -> int:
        self.sizes.append(_size(aval))
        return len(self.sizes) - 1

    def add(self, jaxpr: Any, arguments: list[int]) -> list[int]:
        """Adds what a function does; returns the numbers of its results."""
        numbers: dict[Any, int] = dict(zip(jaxpr.invars, arguments, strict=True))
        numbers |= {variable: self.new(variable.aval) for variable in jaxpr.constvars}

        def number(atom: Any) -> int:
            return self.new(atom.aval) if isinstance(atom, Literal) else numbers[atom]

        for equation in jaxpr.eqns:
            reads = [number(atom) for atom in equation.invars]
            called = _called(equation)
            if called is not None:
                results = self.add(called, reads)
            else:
                results = [self.new(variable.aval) for variable in equation.outvars]
                name = equation.params.get("target_name", equation.primitive.name)
                self.operations.append(Operation(name, tuple(reads), tuple(results)))
                self._count(equation)
            numbers.update(zip(equation.outvars, results, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def _count(self, equation: Any) -> None:
        name, result = equation.primitive.name, equation.outvars[0].aval
        if (products := _products(equation)) is not None:
            self.products += _scaled(products)
        elif name.startswith(("reduce_", "arg")):
            self.elementwise += _size(equation.invars[0].aval, itemsize=1)
        elif name in ELEMENTWISE - _MOVES:
            self.elementwise += _size(result, itemsize=_OF_AN_ELEMENT.get(name, 1))


def _called(equation: Any) -> Any:
    """The function that an operation calls, or None."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in equation.params:
            inner = equation.params[name]
            closed = hasattr(inner, "consts")
            if closed and inner.consts:
                raise ValueError(f"{equation.primitive.name} holds constants")
            return inner.jaxpr if closed else inner
    return None


def _products(equation: Any) -> int | None:
    """Operations of a product or a convolution; None of all else."""
    name, params = equation.primitive.name, equation.params
    shapes = [variable.aval.shape for variable in equation.invars]
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        inner = math.prod(shapes[0][axis] for axis in contracted)
        return 2 * math.prod(equation.outvars[0].aval.shape) * inner
    if name == "conv_general_dilated":
        return 2 * _convolution_products(equation)
    if params.get("target_name", "").startswith(_FLASH):
        batch, length, heads, channels = shapes[0]
        # Scores and their use forward; both of each operand backward.
        passes = 2 if params["target_name"] == _FLASH else 4
        return 2 * passes * batch * heads * length * shapes[1][1] * channels
    return None


def _convolution_products(equation: Any) -> int:
    """Multiplications, without those with padding and with the holes of dilation, as XLA counts."""
    params, (image, kernel) = equation.params, (v.aval.shape for v in equation.invars)
    numbers, result = params["dimension_numbers"], equation.outvars[0].aval.shape
    count = result[numbers.out_spec[0]] * result[numbers.out_spec[1]] * kernel[numbers.rhs_spec[1]]
    for axis, (before, _) in enumerate(params["padding"]):
        side = image[numbers.lhs_spec[2 + axis]]
        hole, stride = params["lhs_dilation"][axis], params["window_strides"][axis]
        starts = np.arange(result[numbers.out_spec[2 + axis]]) * stride - before
        offsets = np.arange(kernel[numbers.rhs_spec[2 + axis]]) * params["rhs_dilation"][axis]
        places = starts[:, None] + offsets
        inside = (places >= 0) & (places <= (side - 1) * hole) & (places % hole == 0)
        count *= int(inside.sum())
    return count


@contextlib.contextmanager
def _attention(flash: bool) -> Iterator[None]:
    """Inside, Keras' attention is the kernel of a GPU, or the products and softmax of any machine.

    Keras decides by the machine it runs on, which is not the one that is asked about.
    """
    plain = jax.nn.dot_product_attention
    module: Any = jax.nn
    module.dot_product_attention = _flash_attention if flash else plain
    try:
        yield
    finally:
        module.dot_product_attention = plain


@jax.custom_vjp
def _flash(query, key, value):
    return _flash_forward(query, key, value)[0]


def _flash_forward(query, key, value):
    batch, length, heads, _ = query.shape
    softmax_sums = jax.ShapeDtypeStruct((batch, heads, length), jnp.float32)
    output = jax.ShapeDtypeStruct(query.shape, query.dtype)
    call = jax.ffi.ffi_call(_FLASH, (output, softmax_sums))
    result, sums = call(query, key, value)
    return result, (query, key, value, result, sums)


def _flash_backward(kept, gradient):
    shapes = [jax.ShapeDtypeStruct(part.shape, part.dtype) for part in kept[:3]]
    return tuple(jax.ffi.ffi_call(f"{_FLASH}_backward", shapes)(*kept, gradient))


_flash.defvjp(_flash_forward, _flash_backward)


def _flash_attention(query, key, value, **options):
    return _flash(query, key, value)


if __name__ == "__main__":  # A process of its own: see `experiment.estimate`.
    asked_run, with_flash = pickle.load(sys.stdin.buffer)
    print(json.dumps(trace_step(asked_run, flash_attention=with_flash).to_json()))
