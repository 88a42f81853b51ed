"""The NVIDIA GPUs of this machine and their memory, as their driver says; no backend is loaded."""

import dataclasses
import os
import subprocess
from collections.abc import Sequence

_QUERY = (
    *("nvidia-smi", "--query-gpu=index,uuid,memory.total,mig.mode.current,name"),
    "--format=csv,noheader,nounits",
)
# A driver that is being started takes seconds; one that hangs is not waited for.
_WAIT_S = 20.0
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One that this process may use.

    Attributes:
      name: the maker's, as "NVIDIA L4".
      memory_bytes: all of its memory.
    """

    name: str
    memory_bytes: int


def local_gpus() -> tuple[Gpu, ...]:
    """Those that CUDA_VISIBLE_DEVICES leaves; none where their driver does not say what there is.

    One that is divided (MIG) is left out, since the driver names the memory of the whole.
    """
    try:
        done = subprocess.run(
            _QUERY, capture_output=True, text=True, errors="replace", timeout=_WAIT_S
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    found: dict[tuple[str, str], Gpu] = {}
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        parts = [part.strip() for part in line.split(",", 4)]
        # Memory is "[N/A]" where it is shared.
        if len(parts) == 5 and parts[2].isdecimal() and parts[3] != "Enabled":
            found[parts[0], parts[1]] = Gpu(parts[4], int(parts[2]) * _MIB)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(found.values()) if visible is None else _chosen(found, visible.split(","))


def _chosen(found: dict[tuple[str, str], Gpu], visible: Sequence[str]) -> tuple[Gpu, ...]:
    """By number or the beginning of an id; what follows one that is not there does not count."""
    chosen: list[Gpu] = []
    for wanted in map(str.strip, visible):
        fitting = [
            gpu
            for (index, uuid), gpu in found.items()
            if wanted == index or (wanted.startswith("GPU-") and uuid.startswith(wanted))
        ]
        if len(fitting) != 1:
            break
        chosen += fitting
    return tuple(chosen)
