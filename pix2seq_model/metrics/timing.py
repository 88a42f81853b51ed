"""How long a model took for an image: stored with an evaluation, apart from what it found.

<evaluation>/timing.json   milliseconds, images, batch_size, backend, device

It is a file of its own because everything else in the folder is the same whenever and wherever the
evaluation is made.
"""

import contextlib
import dataclasses
import os
import statistics
import sys

from etils import epath

from pix2seq_model.atomic_write import write_json
from pix2seq_model.json_file import read_json

TIMING_FILE = "timing.json"
_KINDS: dict[str, tuple[type, ...]] = {
    "milliseconds": (int, float),
    **dict.fromkeys(("images", "batch_size"), (int,)),
    **dict.fromkeys(("backend", "device"), (str,)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """How long a model takes for an image, and where that was measured.

    Attributes:
      milliseconds: of the model for an image: median over the batches.
      images: in these batches.
      batch_size: images decoded together.
      backend: Keras', "tensorflow" or "jax".
      device: in words, such as "1 x NVIDIA L4".

    Raises:
      ValueError: a number that is not finite and above 0, or a text that is none.
    """

    milliseconds: float
    images: int
    batch_size: int
    backend: str
    device: str

    def __post_init__(self) -> None:
        for field, kind in _KINDS.items():
            value = getattr(self, field)
            is_of_kind = isinstance(value, kind) and not isinstance(value, bool)
            if not is_of_kind:
                raise ValueError(f"{field}={value!r} is of the wrong type")
            if not isinstance(value, str) and not 0 < value <= sys.float_info.max:
                raise ValueError(f"{field}={value!r} is not a finite number above 0")

    def text(self) -> str:
        """A line for people."""
        return (
            f"{self.milliseconds:,.3g} ms an image: median over the batches of {self.batch_size}, "
            f"{self.images:,} images in all, {self.backend} on {self.device}"
        )


class BatchTimes:
    """Seconds of the batches of one process, in their order."""

    def __init__(self) -> None:
        self._batches: list[tuple[int, float]] = []

    def add(self, images: int, seconds: float) -> None:
        """A batch of so many images was decoded."""
        self._batches.append((images, seconds))

    def __len__(self) -> int:
        return len(self._batches)

    def timing(self, *, batch_size: int, backend: str, device: str) -> Timing | None:
        """Of the whole batches after the first, which compiles the model; None without any.

        The last batch is decoded as if it were whole, and says nothing of an image.
        """
        counted = [(n, seconds) for n, seconds in self._batches[1:] if n == batch_size]
        if not counted:
            return None
        return Timing(
            milliseconds=statistics.median(1000 * seconds / n for n, seconds in counted),
            images=sum(n for n, _ in counted),
            batch_size=batch_size,
            backend=backend,
            device=device,
        )


def write_timing(evaluation_dir: epath.PathLike, timing: Timing | None) -> None:
    """Writes it, or removes that of an earlier evaluation in the folder."""
    path = epath.Path(evaluation_dir) / TIMING_FILE
    if timing is None:
        path.unlink(missing_ok=True)
    else:
        write_json(path, dataclasses.asdict(timing), indent=1)


def read_timing(evaluation_dir: str | os.PathLike) -> Timing | None:
    """None of an evaluation that was not timed, as on Beam, or whose file is damaged."""
    path = epath.Path(evaluation_dir) / TIMING_FILE
    with contextlib.suppress(OSError, TypeError, ValueError):
        return Timing(**read_json(path, fix="it is left out", kind=dict))
    return None
