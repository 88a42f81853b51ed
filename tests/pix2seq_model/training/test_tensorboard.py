import contextlib

import tensorflow as tf

from pix2seq_model.training.tensorboard import Summaries


class _Full:
    """A writer on a full disk, which TensorFlow notices as it flushes."""

    closed = 0

    def as_default(self, step):
        return tf.summary.create_noop_writer().as_default(step=step)

    def flush(self):
        raise tf.errors.ResourceExhaustedError(None, None, "{{x}} /logs/e; No space left on device")

    def close(self):
        self.closed += 1
        self.flush()


def test_logs_on_a_full_disk_are_given_up_with_one_message(tmp_path):
    said, full = [], _Full()
    with contextlib.closing(Summaries(tmp_path / "logs", say=said.append)) as summaries:
        summaries._writer.close()
        summaries._writer = full
        for step in range(3):
            summaries.scalars(step, {"loss": 1.0})
            summaries.images(step, "pictures", [])
    (text,) = said
    assert f"{tmp_path}/logs cannot be written any more (No space left on device): training" in text
    assert full.closed == 1
