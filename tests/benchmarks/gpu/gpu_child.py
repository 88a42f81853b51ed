"""All parts of gpu.sh at a tiny size in one process on JAX.

python -m tests.benchmarks.gpu.gpu_child BATCHES OUTPUT
"""

import dataclasses
import sys
from pathlib import Path

from benchmarks.gpu import decode, report, step, train
from benchmarks.gpu.sizes import TINY
from pix2seq_model.atomic_write import write_json


def main(batches: str, output: Path) -> None:
    steps = step.NetworkSteps(TINY.networks[0], TINY).measure()
    machine = step.MachineRates(TINY).measure()
    found = {"failed": [], "machine": machine, "networks": [steps]}
    write_json(output / "step.json", found)
    small = dataclasses.replace(TINY, decode_batches=(2,))
    decode.measure(small, lambda found: write_json(output / "decode.json", found))
    assert train.main([f"--batches={batches}", f"--output={output}", "--seeds=3"]) == 0
    assert report.main([f"--output={output}"]) == 0


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
