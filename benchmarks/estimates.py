"""A training step's estimate next to what XLA says of the compiled step; the page of estimates.

    python benchmarks/estimates.py                            # compiles each case: minutes
    python benchmarks/estimates.py --case=resnet,256,4        # one: network, pixels, batch
    python benchmarks/estimates.py --write=docs/estimates.md
    python benchmarks/estimates.py --trace --write=docs/estimates.md

Memory is also held against the peaks that were measured on an H100 (bfloat16). Compiled is for this
machine's processor, in float32 and without activation checkpointing; nothing is run. `--trace`
traces the published steps again when their code has changed.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]
# Published networks: pixels and batch.
_CASES = ("vit_b,640,4", "resnet,640,8", "vit_l,256,4", "resnetc,256,4")
_COMPARED = """
import json, sys
from benchmarks.compiled_step import compared, published_step
print(json.dumps(compared(published_step(*sys.argv[1].split(",")))))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", action="append", help="network,pixels,batch; as often as needed")
    parser.add_argument("--trace", action="store_true", help="trace the published steps again")
    parser.add_argument("--write", type=Path, help="where the page goes")
    given = parser.parse_args()
    if given.trace:
        from benchmarks.recorded_steps import record

        record()
    if given.write:
        from benchmarks.estimate_page import page

        given.write.write_text(page())
    if not given.trace and not given.write:
        from benchmarks.recorded_steps import h100_peaks

        for words, measured, found in h100_peaks():
            estimated = found.memory_bytes / 2**30
            ratio = estimated / measured
            print(f"| {words} | {estimated:.1f} | {measured:.1f} | {ratio:.3f} |", flush=True)
        for case in given.case or _CASES:
            print(_line(case, compared(case)), flush=True)


def compared(case: str) -> dict[str, float]:
    """Bytes and operations of a step, estimated and compiled, in a process of its own."""
    # XLA's schedule for many cores holds more at once than the one for little memory.
    flags = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
    wanted = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    wanted["PYTHONPATH"] = str(_ROOT)
    done = subprocess.run(
        [sys.executable, "-c", _COMPARED, case],
        env={**os.environ, **wanted},
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _line(case: str, found: dict[str, float]) -> str:
    """A row of a table."""
    cells = [case.replace(",", ", ")]
    for name, unit in (("bytes", 1e9), ("operations", 1e12)):
        estimated, compiled = found[name] / unit, found[f"{name}_compiled"] / unit
        cells += [f"{estimated:.2f}", f"{compiled:.2f}", f"{estimated / compiled:.3f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
