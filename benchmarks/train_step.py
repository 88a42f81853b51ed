"""How long a training step takes, and what of the machine it uses. Prints one line of JSON.

    python benchmarks/train_step.py --config=configs/coco_finetune.py:vit_b,640 \\
        --config.finetune.batch_size=32 --config.finetune.precision=mixed_bfloat16 \\
        --accelerator=h100

The step is the one that training takes: the same network, loss, optimizer and compilation, and
batches that travel while a step computes. Synthetic input is one batch over and over; `--examples`
names an examples folder instead. `model_tflops` are the counted operations of the step a second;
`machine_tflops` what a plain product of two large matrices reaches right after it, in the same
precision; `utilisation` is of the peak that an accelerator's maker states. With synthetic input it
needs keras, a backend, numpy, ml-collections and etils, no TensorFlow where the backend is JAX.
"""

import argparse
import dataclasses
import itertools
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np

from benchmarks.device import device_name, peak_memory
from benchmarks.machine_rates import PEAK_TFLOPS, matrix_product_tflops
from benchmarks.operations import training_step_operations
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.training.batch_feed import BatchFeed
from pix2seq_model.training.settings import STAGES
from pix2seq_model.training.training_step import TrainingStep, compiles, fresh_step


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="as for run_pipeline.py")
    parser.add_argument("--stage", default="finetune", choices=STAGES)
    parser.add_argument("--warmup", type=int, default=3, help="steps before the clock starts")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed")
    parser.add_argument("--examples", help="examples folder; synthetic input if absent")
    parser.add_argument("--accelerator", choices=sorted(PEAK_TFLOPS), help="for the utilisation")
    given, rest = parser.parse_known_args(arguments)
    overrides = [_override(argument) for argument in rest]
    config = load_config(given.config, overrides, stage=given.stage)
    print(json.dumps(measure(config, given)))


def measure(config, given: argparse.Namespace) -> dict:
    """Times the step; see the keys of the result."""
    run = training_run(config, given.stage)
    settings, vocabulary, model_config = run.settings, run.vocabulary, run.model
    step = fresh_step(run)
    batch_size = settings.images_per_batch
    num_tokens = 5 * settings.sequence.max_objects
    if given.examples:
        batches = _real_batches(run, given, batch_size)
    else:
        batches = itertools.repeat(
            synthetic_batch(model_config, vocabulary, batch_size, num_tokens)
        )
    clock = _timed(step, BatchFeed(batches, place=step.place), given)
    seconds = clock.seconds / given.steps
    operations = training_step_operations(
        model_config,
        vocab_size=vocabulary.vocab_size,
        batch_size=batch_size,
        num_tokens=num_tokens,
    )
    tflops = operations / seconds / 1e12
    peak_bytes = peak_memory()
    machine_tflops = matrix_product_tflops(settings.precision)
    result = {
        "config": given.config,
        "backend": keras.backend.backend(),
        "device": device_name(),
        "precision": settings.precision,
        "xla": compiles(settings.jit_compile),
        "image_size": list(settings.image_size),
        "batch_size": batch_size,
        "tokens": num_tokens,
        "input": given.examples or "synthetic",
        "first_step_s": round(clock.first_s, 2),
        "step_s": round(seconds, 5),
        "step_processor_s": round(clock.processor_s / given.steps, 5),
        "images_per_s": round(batch_size / seconds, 2),
        "model_tflop_per_step": round(operations / 1e12, 4),
        "model_tflops": round(tflops, 4),
        "machine_tflops": round(machine_tflops, 4),
        "share_of_machine": round(tflops / machine_tflops, 3),
        "utilisation": None,
        "peak_memory_gib": round(peak_bytes / 2**30, 2),
        "loss": round(clock.loss, 4),
    }
    if given.accelerator:
        result["utilisation"] = round(tflops / PEAK_TFLOPS[given.accelerator], 4)
    return result


@dataclasses.dataclass(frozen=True)
class _Clock:
    """What was measured: the first step, and the steps after the warm-up together."""

    first_s: float
    seconds: float
    processor_s: float
    loss: float


def _timed(step: TrainingStep, feed: BatchFeed, given: argparse.Namespace) -> _Clock:
    """Trains as the loop does. Reading the loss waits for the steps before it."""
    start, warmup = time.perf_counter(), max(1, given.warmup)
    batch = feed.next()
    for number in range(1, warmup + given.steps + 1):
        step(batch)
        batch = feed.next()
        if number == 1:
            _loss(step)
            first_s = time.perf_counter() - start
        if number == warmup:
            _loss(step)
            begin, busy = time.perf_counter(), time.process_time()
    loss = _loss(step)
    return _Clock(first_s, time.perf_counter() - begin, time.process_time() - busy, loss)


def _loss(step: TrainingStep) -> float:
    step.synchronize()
    return step.model.log.read()["loss"]


def synthetic_batch(model_config, vocabulary, batch_size: int, num_tokens: int) -> tuple:
    """A batch as the training input makes them, images as bytes, drawn at random."""
    random = np.random.default_rng(0)
    height, width = model_config.image_size
    tokens = random.integers(
        vocabulary.coord_shift, vocabulary.vocab_size, (batch_size, num_tokens)
    )
    return (
        {
            "image": random.integers(0, 256, (batch_size, height, width, 3), np.uint8),
            "tokens": tokens.astype(np.int32),
        },
        tokens.astype(np.int32),
        np.ones((batch_size, num_tokens), np.float32),
    )


def _real_batches(run, given: argparse.Namespace, batch_size: int):
    # Only here: this needs TensorFlow.
    from pix2seq_model.input_pipeline.datasets import training_dataset

    settings = run.settings
    dataset = training_dataset(
        given.examples,
        split=settings.split,
        vocabulary=run.vocabulary,
        image_size=settings.image_size,
        batch_size=batch_size,
        seed=run.seed,
        augmentation=settings.augmentation,
        sequence=settings.sequence,
        image_dtype=settings.image_dtype,
        shuffle_buffer=settings.shuffle_buffer,
    )
    on_jax = keras.backend.backend() == "jax"
    return dataset.as_numpy_iterator() if on_jax else iter(dataset)


def _override(argument: str) -> str:
    if not argument.startswith("--config."):
        raise SystemExit(f"unknown argument {argument}")
    return argument.removeprefix("--config.")


if __name__ == "__main__":
    main(sys.argv[1:])
