"""How long the kernels of a compiled step run, by the scope of the source that they come from.

From a trace of JAX's profiler, read with JAX alone, and the program's text, which names the scope
of every instruction.
"""

import collections
import dataclasses
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?([\w.\-]+) = .*op_name="([^"]*)"', re.MULTILINE)
_FLASH = re.compile(r'custom_call_target="__cudnn\$fmha\w*"')
_UNKNOWN = "unknown"
_DEPTH, _LONGEST = 5, 60


@dataclasses.dataclass(frozen=True)
class ScopeTime:
    """Kernels of a scope in one call.

    Attributes:
      scope: layers without their numbers, as "encoder/layer/mlp/expand".
      backward: whether they compute gradients.
      ms: milliseconds of all.
      kernels: how many.
    """

    scope: str
    backward: bool
    ms: float
    kernels: float


def flash_kernels(program_text: str) -> int:
    """Calls of cuDNN's flash attention in a compiled program."""
    return len(_FLASH.findall(program_text))


def times_by_scope(
    call: Callable[[], Any], program_text: str, *, calls: int = 2
) -> list[ScopeTime]:
    """Traces some calls of a program, which waits for nothing.

    Args:
      call: starts the program once and returns what to wait for.
      program_text: of the compiled program.
      calls: to trace; times are the mean.

    Returns:
      By falling time; "unknown" is what the program's text has no scope for, as copies.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(calls):
                result = call()
            jax.block_until_ready(result)
        (file,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(file))
        return summed(_device_events(data), scopes(program_text), calls=calls)


def scopes(program_text: str) -> dict[str, str]:
    """The scope of each instruction of a compiled program by its name."""
    return dict(_INSTRUCTION.findall(program_text))


def summed(
    events: Iterable[tuple[str, float]], scope_of: Mapping[str, str], *, calls: int
) -> list[ScopeTime]:
    """Adds up events.

    Args:
      events: name of the instruction, and nanoseconds.
      scope_of: its scope by name.
      calls: that they are of.
    """
    total: collections.Counter = collections.Counter()
    count: collections.Counter = collections.Counter()
    for instruction, nanoseconds in events:
        full = scope_of.get(instruction, "")
        key = (short_scope(full), "transpose(" in full)
        total[key] += nanoseconds
        count[key] += 1
    return [
        ScopeTime(scope, backward, nanoseconds / 1e6 / calls, count[scope, backward] / calls)
        for (scope, backward), nanoseconds in total.most_common()
    ]


def short_scope(op_name: str) -> str:
    """A scope without numbers of layers, transformations and what is below some depth."""
    plain = re.sub(r"^jit\([^)]*\)/", "", op_name)
    plain = re.sub(r"(?:transpose\()?jvp\((?:pix2seq)?\)\)?/?", "", plain)
    plain = re.sub(r"(layer|block|group)_?\d+", r"\1", plain)
    parts = plain.strip("/").split("/")[:_DEPTH]
    return "/".join(parts)[:_LONGEST] or _UNKNOWN


def _device_events(data: jax.profiler.ProfileData) -> Iterable[tuple[str, float]]:
    """The kernels of a GPU's streams; without a GPU, the instructions that a processor ran."""
    gpus = [plane for plane in data.planes if "gpu" in plane.name.lower()]
    for plane in gpus or data.planes:
        for line in plane.lines:
            if gpus and "Stream" not in line.name:
                continue
            for event in line.events:
                instruction = dict(event.stats).get("hlo_op")
                if instruction is None and not gpus:
                    continue
                yield str(instruction or event.name), event.duration_ns
