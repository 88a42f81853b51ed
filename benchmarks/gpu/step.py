"""`gpu.sh step`: the machine's own rates, and training steps of the published networks.

    python -m benchmarks.gpu.step --output=FOLDER [--tiny]

Each network has a process of its own, so that its peak of memory is its own. They compile at the
same time and are then measured one after the other. A step is measured in a plain loop, the batch
on the device already and nothing read, and in the loop of `training.loop`, where the batch travels
and the log is read; then kernels are traced. Writes FOLDER/step.json after every one.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks.compiled_step import lowered
from benchmarks.device import device_name, peak_memory
from benchmarks.gpu.kernel_times import flash_kernels, times_by_scope
from benchmarks.gpu.real_loop import train_in_loop
from benchmarks.gpu.sizes import FULL, TINY, Network, Sizes
from benchmarks.machine_rates import copy_tb_per_s, matrix_product_tflops, peak_of
from benchmarks.operations import training_step_operations
from benchmarks.train_step import synthetic_batch
from pix2seq_model.atomic_write import write_json
from pix2seq_model.training.training_step import fresh_step

_GIB = 2**30
_MACHINE = "machine"
_SCOPES = 40
_WARM = 3


class MachineRates:
    """What the machine does at best."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes

    def measure(self) -> dict[str, Any]:
        product = matrix_product_tflops("bfloat16", side=self._sizes.product_side)
        return {
            "device": device_name(),
            "jax": jax.__version__,
            "product_tflops": product,
            "copy_tb_per_s": copy_tb_per_s(elements=self._sizes.copied_elements),
            "peak_tflops": peak_of(device_name()),
        }


class NetworkSteps:
    """Steps of a network, compiled here."""

    def __init__(self, network: Network, sizes: Sizes) -> None:
        self._network, self._sizes, self._run = network, sizes, network.run()
        settings = self._run.settings
        self._tokens = 5 * settings.sequence.max_objects
        self._batch = synthetic_batch(
            self._run.model, self._run.vocabulary, settings.images_per_batch, self._tokens
        )
        self._step = fresh_step(self._run)
        start = time.perf_counter()
        self._compiled = lowered(self._step, self._step.place(self._batch)).compile()
        self._compile_s = time.perf_counter() - start

    def measure(self) -> dict[str, Any]:
        settings = self._run.settings
        plain_s = self._plain_loop()
        peak = peak_memory()
        loop_s, loss = self._real_loop()
        operations = training_step_operations(
            self._run.model,
            vocab_size=self._run.vocabulary.vocab_size,
            batch_size=settings.images_per_batch,
            num_tokens=self._tokens,
        )
        text = self._compiled.as_text()
        sizes = self._compiled.memory_analysis()
        peak_tflops = peak_of(device_name())
        tflops = operations / loop_s / 1e12
        return {
            "network": self._network.name,
            "precision": settings.precision,
            "image_size": list(settings.image_size),
            "batch_size": settings.images_per_batch,
            "compile_s": self._compile_s,
            "plain_ms": 1e3 * plain_s,
            "loop_ms": 1e3 * loop_s,
            "loop_to_plain": loop_s / plain_s,
            "images_per_s": settings.images_per_batch / loop_s,
            "tflop": operations / 1e12,
            "tflops": tflops,
            "utilisation": tflops / peak_tflops if peak_tflops else None,
            "peak_gib": peak / _GIB,
            "arguments_gib": sizes.argument_size_in_bytes / _GIB,
            "temporary_gib": sizes.temp_size_in_bytes / _GIB,
            "flash_kernels": flash_kernels(text),
            "loss": loss,
            "kernels": self._kernels(text),
        }

    def _plain_loop(self) -> float:
        """Seconds of a step."""
        batch = self._step.place(self._batch)
        for _ in range(_WARM):
            self._step(batch)
        jax.block_until_ready(self._step._state)
        start = time.perf_counter()
        for _ in range(self._sizes.steps):
            self._step(batch)
        jax.block_until_ready(self._step._state)
        seconds = (time.perf_counter() - start) / self._sizes.steps
        self._step.synchronize()
        return seconds

    def _real_loop(self) -> tuple[float, float]:
        """Seconds of a step, and the loss, of the second log interval."""
        rows = train_in_loop(
            self._run,
            self._step,
            itertools.repeat(self._batch),
            steps=2 * self._sizes.steps_per_log,
            steps_per_log=self._sizes.steps_per_log,
        )
        last = rows[-1]
        return self._run.settings.images_per_batch / last["images_per_second"], last["loss"]

    def _kernels(self, text: str) -> list[dict[str, Any]]:
        batch = self._step.place(self._batch)

        def call():
            self._step(batch)
            return self._step._state

        found = times_by_scope(call, text)
        rest = found[_SCOPES:]
        rows = [dataclasses.asdict(row) for row in found[:_SCOPES]]
        if rest:
            ms, kernels = sum(row.ms for row in rest), sum(row.kernels for row in rest)
            rows.append({"scope": "all else", "backward": None, "ms": ms, "kernels": kernels})
        return rows


class Child:
    """A process that prepares what it measures, and measures when it is told to."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu.step", f"--child={name}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def is_ready(self) -> bool:
        """Waits until it has prepared itself; False if it failed, and said why."""
        assert self._process.stdout is not None
        return bool(self._process.stdout.readline())

    def measured(self) -> dict[str, Any] | None:
        """What it measured, once it has ended; None if it failed."""
        out, _ = self._process.communicate("go\n")
        return json.loads(out.splitlines()[-1]) if self._process.returncode == 0 else None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder of step.json")
    parser.add_argument("--tiny", action="store_true", help="to be tried on a processor")
    parser.add_argument("--child", help="used by this program itself")
    given = parser.parse_args(arguments)
    sizes = TINY if given.tiny else FULL
    makers: dict[str, Any] = {_MACHINE: functools.partial(MachineRates, sizes)}
    for network in sizes.networks:
        makers[network.name] = functools.partial(NetworkSteps, network, sizes)
    if given.child:
        made = makers[given.child]()
        print("ready", flush=True)
        if sys.stdin.readline():  # Else the parent is gone.
            print(json.dumps(made.measure()))
        return 0
    children = [Child(name, ["--tiny"] if given.tiny else []) for name in makers]
    ready = [child for child in children if child.is_ready()]
    found: dict[str, Any] = {"failed": [c.name for c in children if c not in ready], "networks": []}
    for child in ready:
        result = child.measured()
        if result is None:
            found["failed"].append(child.name)
        elif child.name == _MACHINE:
            found[_MACHINE] = result
        else:
            found["networks"].append(result)
        write_json(given.output / "step.json", found, indent=1)
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
