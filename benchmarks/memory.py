"""Memory that an image takes in a training step, with and without activation checkpointing.

    KERAS_BACKEND=jax python benchmarks/memory.py
    KERAS_BACKEND=jax python benchmarks/memory.py --case=vit_b,640

By abstract trace of the step (`training.step_trace`), nothing is computed: what of an image lives
at the step's peak, its kept activations and one layer's inner ones, by the rules of what XLA makes
a buffer. "kernel" is attention by a kernel that holds no logits (a GPU in bfloat16, on JAX),
"blocks" the one in blocks of queries, "matrix" all logits at once. `again` is what is computed
besides, in products, and in all else, against the same step without checkpointing.
"""

import argparse
import sys
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.network import blocked_attention
from pix2seq_model.network.checkpointing import WAYS
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.step_costs import StepCosts
from pix2seq_model.training.step_trace import trace_step

_CASES = ("vit_b,640", "vit_l,1333", "resnet,640")
_KINDS = {
    "kernel": ("mixed_bfloat16", True),
    "blocks": ("float32", False),
    "matrix": ("float32", False),
}
# An image's share of the peak, at such a batch.
_BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", action="append", help="network,pixels; as often as needed")
    parser.add_argument("--attention", action="append", choices=_KINDS, help="the same")
    given = parser.parse_args()
    print("| network | px | precision | attention | checkpointing | GB an image | again |")
    print("|---|---|---|---|---|---|---|")
    for case in given.case or _CASES:
        for kind in given.attention or _KINDS:
            for line in lines(case, kind):
                print(line, flush=True)


def lines(case: str, kind: str) -> list[str]:
    """Rows of the table, one for each way of checkpointing."""
    found = {way: costs(run_of(case, _KINDS[kind][0], way), kind) for way in WAYS}
    plain, rows = found[WAYS[0]], []
    for way, of_way in found.items():
        products = of_way.products.each / plain.products.each - 1
        others = of_way.elementwise.each / plain.elementwise.each - 1
        cells = [*case.split(","), _KINDS[kind][0], kind, way, f"{gigabytes(of_way):.3f}"]
        rows.append(f"| {' | '.join(cells)} | {products:.0%}, {others:.0%} |")
    return rows


def gigabytes(costs: StepCosts) -> float:
    """Of an image, at the peak of a step."""
    return costs.peak(_BATCH).each / 1e9


def costs(run: TrainingRun, kind: str) -> StepCosts:
    """Of a step, with a kind of attention."""
    _, kernel = _KINDS[kind]
    large = sys.maxsize if kind == "matrix" else blocked_attention.LARGE
    with mock.patch.object(blocked_attention, "LARGE", large):
        return trace_step(run, flash_attention=kernel, processor=False)


def run_of(case: str, precision: str, way: str) -> TrainingRun:
    """Fine-tuning of a published network."""
    config = load_config(
        f"configs/coco_finetune.py:{case}",
        [f"finetune.precision={precision}", f"finetune.activation_checkpointing={way}"],
        stage="finetune",
    )
    return training_run(config, "finetune")


if __name__ == "__main__":
    main()
