"""Memory and operations of a training step, as numbers that hold for any batch. Needs no Keras."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Size:
    """Bytes, or operations: `fixed`, and `each` for every image of the batch."""

    fixed: float = 0.0
    each: float = 0.0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.fixed + other.fixed, self.each + other.each)

    def __sub__(self, other: "Size") -> "Size":
        return Size(self.fixed - other.fixed, self.each - other.each)

    def times(self, count: int) -> "Size":
        return Size(self.fixed * count, self.each * count)

    def at(self, batch_size: int) -> float:
        return self.fixed + self.each * batch_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepCosts:
    """What a step takes on one device.

    Attributes:
      parameters: how many are trained.
      weights, optimizer, other_state, inputs: bytes of what is there before and after it.
      peaks: bytes of what lives in it besides, where that may be the most; see `peak`.
      products: operations of the products and convolutions; an addition and a multiplication are
        two.
      elementwise: operations of all else.
    """

    parameters: int
    weights: Size
    optimizer: Size
    other_state: Size
    inputs: Size
    peaks: tuple[Size, ...]
    products: Size
    elementwise: Size

    def peak(self, batch_size: int) -> Size:
        """The largest of `peaks` at a batch."""
        return max(self.peaks, key=lambda size: size.at(batch_size))

    def memory(self, images: int, *, accumulated: bool) -> dict[str, float]:
        """Bytes of one device by what takes them, at the peak of a step.

        Args:
          images: of a step on this device.
          accumulated: whether gradients of several steps are added up.
        """
        peak = self.peak(images)
        return {
            "weights": self.weights.at(images),
            "optimizer": (self.optimizer + self.other_state).at(images),
            "accumulated gradients": self.weights.fixed if accumulated else 0.0,
            "gradients, copies of weights": peak.fixed,
            "activations": peak.each * images,
            "inputs": 2 * self.inputs.at(images),  # The next batch is on its way.
        }

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "StepCosts":
        sizes = {name: Size(**value) for name, value in fields.items() if isinstance(value, dict)}
        peaks = tuple(Size(**peak) for peak in fields["peaks"])
        return cls(**{**fields, **sizes, "peaks": peaks})


def upper_envelope(sizes: Iterable[Size]) -> list[Size]:
    """Those of some sizes that are the largest for some batch, by rising share of an image."""
    best: list[Size] = []
    for size in sorted(set(sizes), key=lambda size: (size.each, size.fixed)):
        if best and best[-1].each == size.each:
            best.pop()
        while best and best[-1].fixed <= size.fixed:
            best.pop()
        while len(best) > 1 and _crossing(best[-2], size) <= _crossing(best[-2], best[-1]):
            best.pop()
        best.append(size)
    return best


def _crossing(low: Size, high: Size) -> float:
    if high.each == low.each:
        return math.inf
    return (low.fixed - high.fixed) / (high.each - low.each)
