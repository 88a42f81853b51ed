"""AP and loss of runs whose images travel as bytes, next to the same runs with floats.

    python benchmarks/image_dtype.py --examples=EXAMPLES --base_model=MODEL --output=OUT

The demonstration's fine-tuning from a base model, on its records: each seed twice, all else equal.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.sampled_ap import mean_ap
from configs import demo
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.input_pipeline.settings import IMAGE_DTYPES
from pix2seq_model.training.compiled_steps import CompiledSteps
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.train import train

_LAST_STEPS = 100


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=Path, required=True, help="with splits train and val")
    parser.add_argument("--base_model", type=Path, required=True, help="pretrained model folder")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    given = parser.parse_args(arguments)
    compiled_steps = CompiledSteps()
    print("| images | seed | AP | loss of the last steps |\n|---|---|---|---|", flush=True)
    for seed, image_dtype in itertools.product(given.seeds, IMAGE_DTYPES):
        run = _run(image_dtype, seed=seed, steps=given.steps)
        folder = given.output / f"{image_dtype}-{seed}"
        train(
            run,
            examples_dir=given.examples,
            model_dir=folder / "model",
            work_dir=folder / "work",
            logs_dir=folder / "logs",
            base_model_dir=given.base_model,
            export=False,
            compiled_steps=compiled_steps,
        )
        history = (folder / "model/history/finetune.jsonl").read_text().splitlines()
        losses = [
            row["loss"]
            for row in map(json.loads, history)
            if row["step"] > given.steps - _LAST_STEPS
        ]
        ap = mean_ap(run, folder / "model", given.examples)
        print(f"| {image_dtype} | {seed} | {ap:.4f} | {statistics.fmean(losses):.4f} |", flush=True)
    return 0


def _run(image_dtype: str, *, seed: int, steps: int) -> TrainingRun:
    config = demo.get_config()
    config.seed = seed
    config.finetune.update(
        image_dtype=image_dtype, steps=steps, warmup_steps=min(100, steps), steps_per_log=10
    )
    return training_run(config, "finetune")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
