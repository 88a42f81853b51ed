import contextlib
import os
from pathlib import Path

import pytest
import tensorflow as tf

from pix2seq_model.training.tensorboard import Summaries


class _Full:
    """A writer on a full disk, which TensorFlow notices as it flushes."""

    closed = 0

    def __init__(self, error):
        self._error = error

    def as_default(self, step):
        return tf.summary.create_noop_writer().as_default(step=step)

    def flush(self):
        raise self._error

    def close(self):
        self.closed += 1
        self.flush()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            tf.errors.ResourceExhaustedError(None, None, "{{x}} /e; No space left on device"),
            "No space left on device",
        ),
        # A bucket that does not answer.
        (tf.errors.AbortedError(None, None, "All 10 retry attempts failed"), "All 10 retry"),
        (tf.errors.UnauthenticatedError(None, None, "expired"), "expired"),
        (OSError(), "OSError"),
    ],
)
def test_logs_that_cannot_be_written_are_given_up_with_one_message(error, reason, tmp_path):
    said, full = [], _Full(error)
    with contextlib.closing(Summaries(tmp_path / "logs", say=said.append)) as summaries:
        summaries._writer.close()
        summaries._writer = full
        for step in range(3):
            summaries.scalars(step, {"loss": 1.0})
            summaries.images(step, "pictures", [])
    (text,) = said
    assert f"{tmp_path}/logs cannot be written any more ({reason}" in text
    assert "training goes on" in text
    assert full.closed == 1


def test_a_full_disk_is_said_once_by_tensorflows_own_writer(tmp_path):
    """It stays TensorFlow's default once it could not flush."""
    said = []
    with contextlib.closing(Summaries(tmp_path / "logs", say=said.append)) as summaries:
        (events,) = (tmp_path / "logs").iterdir()
        opened = [fd for fd in Path("/proc/self/fd").iterdir() if fd.exists()]
        (file,) = [int(fd.name) for fd in opened if fd.resolve() == events.resolve()]
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), file)
        for step in range(3):
            summaries.scalars(step, {"loss": 1.0})
    (text,) = said
    assert "cannot be written any more (No space left on device)" in text
