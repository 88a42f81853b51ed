"""Runs the training loop and counts how often what a step computes is turned into numbers.

    python -m tests.pix2seq_model.training.counted_reads

Prints JSON: the reads after each of 12 steps, of which every fourth writes a line of the log;
whether TensorFlow was imported for it; and the reads where the loss is read after every step.
"""

import contextlib
import io
import json
import sys
import types
from unittest import mock

import keras
import numpy as np

from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.progress import ProgressLine
from pix2seq_model.training.batch_feed import BatchFeed
from pix2seq_model.training.interruption import StopAgreement, StopRequest
from pix2seq_model.training.interval_log import IntervalLog
from pix2seq_model.training.loop import run_loop
from pix2seq_model.training.periodic_checkpoints import PeriodicCheckpoints
from pix2seq_model.training.replicas import Replicas
from pix2seq_model.training.run_span import RunSpan
from pix2seq_model.training.skipped_batches import SkippedBatches
from pix2seq_model.training.training_model import TrainingModel
from pix2seq_model.training.training_step import TrainingStep, make_step
from tests.fixtures import tiny_model

STEPS, STEPS_PER_LOG = 12, 4
_CONVERSIONS = ("__array__", "__bool__", "__float__", "__index__", "__int__")


class _CountedStep:
    """A step that says how often its outputs were read after each call."""

    def __init__(self, step):
        self._step, self.model = step, step.model
        self.place, self.synchronize = step.place, step.synchronize
        self.reads: list[int] = []

    def __call__(self, batch):
        self._step(batch)
        self.reads.append(0)  # What tracing and compiling read is not counted.

    def count(self):
        if self.reads:
            self.reads[-1] += 1


def _device_arrays():
    """The class of the backend's arrays, and the names under which it can be read."""
    if keras.backend.backend() == "jax":
        import jax

        return type(jax.numpy.zeros(())), (*_CONVERSIONS, "item", "tolist", "block_until_ready")
    import tensorflow as tf

    return type(tf.zeros(())), (*_CONVERSIONS, "numpy")


@contextlib.contextmanager
def _reads_counted(step: _CountedStep):
    """Counts conversions of device arrays to numbers and to NumPy's arrays."""
    arrays, names = _device_arrays()
    depth = [0]

    def counted(original, is_read):
        def convert(*args, **kwargs):
            if not is_read(args):
                return original(*args, **kwargs)
            # One read may call another.
            if not depth[0]:
                step.count()
            depth[0] += 1
            try:
                return original(*args, **kwargs)
            finally:
                depth[0] -= 1

        return convert

    with contextlib.ExitStack() as stack:
        for name in names:
            method = counted(getattr(arrays, name), lambda args: True)
            owner = next(kind for kind in arrays.__mro__ if name in vars(kind))
            stack.enter_context(mock.patch.object(owner, name, method))
        for name in ("array", "asarray"):
            function = counted(
                getattr(np, name), lambda args: bool(args) and isinstance(args[0], arrays)
            )
            stack.enter_context(mock.patch.object(np, name, function))
        yield


def _batches():
    random = np.random.default_rng(0)
    while True:
        tokens = random.integers(120, 160, (2, 10)).astype(np.int32)
        image = random.random((2, 32, 48, 3), np.float32)
        yield {"image": image, "tokens": tokens}, tokens, np.ones(tokens.shape, np.float32)


def _make_step() -> TrainingStep:
    network = build_model(tiny_model.CONFIG, tiny_model.VOCABULARY, seed=1)
    optimizer = keras.optimizers.AdamW(1e-3)
    return make_step(TrainingModel(network, optimizer, vocabulary=tiny_model.VOCABULARY))


def reads(compiled: TrainingStep, *, planted: bool = False) -> list[int]:
    """How often outputs are read after each step."""
    step = _CountedStep(compiled)
    span = RunSpan(steps=STEPS, batches_per_step=1, batch_size=2, first_batch=0)
    feed = BatchFeed(_batches(), place=step.place)
    progress = ProgressLine("test", total_steps=STEPS, batch_size=2, stream=io.StringIO())
    log = IntervalLog(
        span,
        step,
        feed,
        every_steps=STEPS_PER_LOG,
        learning_rate=lambda batch: 1e-3,
        progress=progress,
        summaries=types.SimpleNamespace(scalars=lambda step, values: None),
        history=[],
    )
    if planted:
        tick = log.tick

        def reads_the_loss(batch):
            tick(batch)
            step.synchronize()
            step.model.log.read()

        log.tick = reads_the_loss
    skipped = SkippedBatches(
        step, first_batch=0, limit=0, folder=None, image_ids=lambda batch: [], progress=progress
    )
    checkpoints = PeriodicCheckpoints(
        span, step, every_steps=STEPS, every_minutes=0.0, folder=None, record={"wall_time_s": 0.0}
    )
    with _reads_counted(step):
        run_loop(
            step,
            feed,
            span,
            log=log,
            skipped=skipped,
            evaluation=None,
            checkpoints=checkpoints,
            stop=StopAgreement(StopRequest(), Replicas(), first_batch=0),
        )
    assert [row["step"] for row in log.history] == [4, 8, 12]
    return step.reads


if __name__ == "__main__":
    compiled = _make_step()
    found = {"reads": reads(compiled), "tensorflow": "tensorflow" in sys.modules}
    json.dump({**found, "planted": reads(compiled, planted=True)}, sys.stdout)
