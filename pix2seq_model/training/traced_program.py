"""The operations of a function that JAX traced, with their sizes, and how much they compute."""

import math
from typing import Any

import numpy as np
from jax.extend.core import Literal

from pix2seq_model.training.buffer_plan import CHEAP, ELEMENTWISE, Operation, live_bytes
from pix2seq_model.training.step_costs import Size

# A batch so large a prime that a size with that factor grows with the batch, and no other does.
PRIME_BATCH = 100_003
# The name of the operation that stands in for cuDNN's attention, and the start of its gradient's.
FLASH = "flash_attention"
# Operations of an element where they are more than one: XLA's expansion of them.
_OF_AN_ELEMENT = {"erf": 30, "erfc": 30, "random_bits": 100, "logistic": 4, "pow": 1}
# Of a hash, which gives two words: of `random_bits`, but drawn without it.
_HASH, _OF_A_HASH = "threefry2x32", 100
# A loop's buffers are compared at so many images.
_NOMINAL_BATCH = 16
_MOVES = {
    *("bitcast_convert_type", "broadcast_in_dim", "concatenate", "copy", "iota", "pad"),
    *("slice", "split"),
}


class Program:
    """The operations of a traced function, with those of the functions that it calls.

    Attributes:
      operations: in their order.
      sizes: of the values, by their number.
      products, elementwise: see `StepCosts`.
    """

    def __init__(self, *, processor: bool) -> None:
        self._processor = processor
        self._copies: dict[tuple[int, tuple[int, ...]], int] = {}
        self._cheap: set[int] = set()
        self.operations: list[Operation] = []
        self.sizes: list[Size] = []
        self.products = self.elementwise = Size()

    def new(self, aval: Any) -> int:
        self.sizes.append(size_of(aval))
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
            if equation.primitive.name == "scan":
                results = self._loop(equation, reads)
            elif called is not None:
                results = self.add(called, reads)
            else:
                results = [self.new(variable.aval) for variable in equation.outvars]
                name = equation.params.get("target_name", equation.primitive.name)
                if self._processor and name == "dot_general":
                    reads = self._in_order(equation, reads)
                if self._processor and name == "random_bits":
                    # A loop with two halves of the bits, which are not put together before use.
                    name = "while"
                    self.sizes[results[0]] += self.sizes[results[0]]
                if name in CHEAP:
                    self._cheap.update(results)
                self.operations.append(Operation(name, tuple(reads), tuple(results)))
                self._count(equation)
            numbers.update(zip(equation.outvars, results, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def _loop(self, equation: Any, reads: list[int]) -> list[int]:
        """A loop as one operation, during which the buffers of its body live."""
        body, traced = Program(processor=self._processor), _called(equation)
        arguments = [body.new(variable.aval) for variable in traced.invars]
        results = body.add(traced, arguments)
        live = live_bytes(
            body.operations,
            body.sizes,
            arguments=arguments,
            results=results,
            processor=self._processor,
        )
        self.sizes.append(max(live, key=lambda size: size.at(_NOMINAL_BATCH)))
        buffers = len(self.sizes) - 1
        times = equation.params["length"]
        self.products += body.products.times(times)
        self.elementwise += body.elementwise.times(times)
        written = [self.new(variable.aval) for variable in equation.outvars]
        self.operations.append(Operation("scan", tuple(reads), (*written, buffers)))
        return written

    def _in_order(self, equation: Any, reads: list[int]) -> list[int]:
        """The operands of a product of many matrices, copied to the order in which a CPU reads."""
        contracted, batched = equation.params["dimension_numbers"]
        if not batched[0]:
            return reads
        operands = []
        for side, (value, variable) in enumerate(zip(reads, equation.invars, strict=True)):
            shape = variable.aval.shape
            inner, outer = [*contracted[side]], [*batched[side]]
            free = [axis for axis in range(len(shape)) if axis not in (*inner, *outer)]
            order = [*outer, *free, *inner] if side == 0 else [*outer, *inner, *free]
            reshaped = 1 in shape and value in self._cheap
            order = [axis for axis in order if shape[axis] != 1]
            if reshaped or order != sorted(order):
                key = (value, tuple(order))
                if key not in self._copies:
                    self._copies[key] = self.new(variable.aval)
                    self.operations.append(Operation("copy", (value,), (self._copies[key],)))
                value = self._copies[key]
            operands.append(value)
        return operands

    def _count(self, equation: Any) -> None:
        name, result = equation.primitive.name, equation.outvars[0].aval
        if (products := _products(equation)) is not None:
            self.products += _scaled(products)
        elif name == _HASH:
            self.elementwise += size_of(result, itemsize=_OF_A_HASH)
        elif name.startswith(("reduce_", "arg")):
            self.elementwise += size_of(equation.invars[0].aval, itemsize=1)
        elif name in ELEMENTWISE - _MOVES:
            self.elementwise += size_of(result, itemsize=_OF_AN_ELEMENT.get(name, 1))


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
    if params.get("target_name", "").startswith(FLASH):
        batch, length, heads, channels = shapes[0]
        # Scores and their use forward; both of each operand backward.
        passes = 2 if params["target_name"] == FLASH else 4
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


def size_of(value: Any, *, itemsize: int | None = None) -> Size:
    """The bytes of a value with a shape."""
    if itemsize is None:
        # Keys of random generators have no NumPy type.
        itemsize = getattr(value.dtype, "itemsize", 8)
    return _scaled(math.prod(value.shape) * itemsize)


def _scaled(number: int) -> Size:
    return Size(0.0, number // PRIME_BATCH) if number % PRIME_BATCH == 0 else Size(number)
