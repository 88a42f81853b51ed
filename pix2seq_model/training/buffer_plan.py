"""How much memory a program's buffers take at once, if a compiler lays them out as XLA does.

Rules of what is a buffer at all, from how XLA fuses: what elementwise operations give is computed
again by whoever reads it, where that reads no more bytes than the result has; products,
convolutions, reductions, gathers and calls of libraries read and write buffers. A buffer lives
from the operation that writes it to the last that reads it, those that read it through what is
computed again included.
"""

import dataclasses
import math
from collections.abc import Container, Iterable, Mapping, Sequence

from pix2seq_model.training.step_costs import Size


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Elementwise, and cheap enough to be computed twice.
CHEAP = _names(
    "abs add add_any and bitcast_convert_type broadcast_in_dim clamp concatenate "
    "convert_element_type copy div eq ge gt integer_pow iota is_finite le lt max min mul ne neg "
    "not or pad rem rev round rsqrt select_n shift_left shift_right_arithmetic "
    "shift_right_logical sign slice split sqrt square stack sub xor"
)
# Elementwise, but computed only once where there are several readers.
_EXPENSIVE = _names(
    "cos erf erf_inv erfc exp exp2 expm1 log log1p logistic pow random_bits sin tanh"
)
# Give another view of the same bytes, or one that products read as they are.
_VIEWS = _names(
    "expand_dims optimization_barrier random_unwrap random_wrap reshape squeeze stop_gradient "
    "transpose"
)
_BARRIER = "optimization_barrier"
ELEMENTWISE = CHEAP | _EXPENSIVE
_NOMINAL_BATCH = 16
# Small operands, such as a bias or the mean of a row, do not count when buffers are compared.
_SLACK = 1.1
_MOST_SOURCES = 24  # of what is computed again
_NEAR = 50  # Operations between something that is computed once and its only reader.
_PASSES = 2
_WIDEST = 8  # Bytes of a number.


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of a program.

    Attributes:
      name: JAX's.
      reads, writes: numbers of values.
    """

    name: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]


def live_bytes(
    operations: Sequence[Operation],
    sizes: Sequence[Size],
    *,
    arguments: Sequence[int],
    results: Sequence[int],
    processor: bool = False,
) -> list[Size]:
    """The bytes of the buffers that live during each operation, arguments left out.

    Args:
      operations: in their order.
      sizes: of every value.
      arguments, results: numbers of values.
      processor: by the rules for a CPU, whose fusion computes everything cheap again that has one
        large operand, however many bytes that is. A GPU's weighs bytes.
    """
    roots = _roots(operations, len(sizes))
    held = set(arguments)
    kept = {roots[value] for value in results}
    sources: list[tuple[int, ...]] = [(value,) for value in range(len(sizes))]
    for _ in range(_PASSES):  # What lives anyway is known once there is a plan.
        last = _last_reads(operations, roots, sources, kept=kept | held)
        sources = _sources(
            operations, sizes, roots, last=last, held=held, kept=kept, processor=processor
        )
    last = _last_reads(operations, roots, sources, kept=kept)
    changes = [Size()] * (len(operations) + 1)
    seen = set(held)
    for index, operation in enumerate(operations):
        for value in map(roots.__getitem__, operation.writes):
            if sources[value] == (value,) and value not in seen:
                seen.add(value)
                changes[index] += sizes[value]
                end = min(last.get(value, index), len(operations) - 1)
                changes[max(index, int(end)) + 1] -= sizes[value]
    live, now = [], Size()
    for change in changes[:-1]:
        now += change
        live.append(now)
    return live


def _last_reads(
    operations: Sequence[Operation],
    roots: Sequence[int],
    sources: Sequence[tuple[int, ...]],
    *,
    kept: Iterable[int],
) -> dict[int, float]:
    """For every buffer the operation that reads it last; infinite of those that are kept."""
    last: dict[int, float] = {}
    for index, operation in enumerate(operations):
        # What is computed again reads its sources where it is read, not where it stands.
        if operation.name in ELEMENTWISE and all(
            sources[roots[value]] != (roots[value],) for value in operation.writes
        ):
            continue
        for value in operation.reads:
            last |= dict.fromkeys(sources[roots[value]], index)
    return last | dict.fromkeys(kept, math.inf)


def _roots(operations: Sequence[Operation], count: int) -> list[int]:
    """For every value the one whose bytes it shows."""
    roots = list(range(count))
    for operation in operations:
        if operation.name in _VIEWS and operation.reads:
            for read, written in zip(operation.reads, operation.writes):
                roots[written] = roots[read]
    return roots


def _sources(
    operations: Sequence[Operation],
    sizes: Sequence[Size],
    roots: Sequence[int],
    *,
    last: Mapping[int, float],
    held: Container[int],
    kept: Container[int],
    processor: bool,
) -> list[tuple[int, ...]]:
    """For every value the buffers that it is read from: itself, or what it is computed from."""
    readers: list[list[int]] = [[] for _ in sizes]
    for index, operation in enumerate(operations):
        # Nothing is computed again from the other side of a barrier.
        if operation.name not in _VIEWS or operation.name == _BARRIER:
            for value in {roots[value] for value in operation.reads}:
                readers[value].append(index)
    sources: list[tuple[int, ...]] = [(value,) for value in range(len(sizes))]
    costly = [False] * len(sizes)  # Should be computed once.
    bytes_of = [size.at(_NOMINAL_BATCH) for size in sizes]

    def is_large(value: int, result: int) -> bool:
        """Whether it is no broadcast next to a result; a byte a number or eight."""
        return _WIDEST * max(bytes_of[s] for s in sources[value]) >= bytes_of[result]

    for index, operation in enumerate(operations):
        if operation.name not in ELEMENTWISE:
            continue
        inputs = {roots[value] for value in operation.reads}
        found = tuple(dict.fromkeys(s for value in inputs for s in sources[value]))
        is_costly = operation.name in _EXPENSIVE or any(
            costly[value] for value in inputs if sources[value] != (value,)
        )
        for value in operation.writes:
            by = readers[value]
            if value in kept or not by or len(found) > _MOST_SOURCES:
                continue
            if not all(_reads_fused(operations[reader].name) for reader in by):
                continue
            if is_costly:
                again = len(by) == 1 and by[0] - index <= _NEAR
            else:
                read = sum(bytes_of[s] for s in found if s not in held)
                longer = sum(bytes_of[s] for s in found if last.get(s, 0) < by[-1])
                again = (
                    len(by) == 1
                    or read <= _SLACK * bytes_of[value]
                    or longer <= (_SLACK - 1) * bytes_of[value]
                    or (processor and sum(is_large(i, value) for i in inputs) <= 1)
                )
            if again:
                sources[value], costly[value] = found, is_costly
    return sources


def _reads_fused(name: str) -> bool:
    return name in ELEMENTWISE or name.startswith(("reduce_", "arg"))
