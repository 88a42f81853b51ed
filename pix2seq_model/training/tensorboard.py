"""TensorBoard logs."""

import os
from collections.abc import Mapping

import tensorflow as tf
from etils import epath

from pix2seq_model.errors import UserError

# Rows of the log that TensorBoard shows under one heading.
_GROUPS = {
    "loss": "loss/all",
    "loss_coordinates": "loss/coordinates",
    "loss_classes": "loss/classes",
    "loss_noise": "loss/noise",
    "token_accuracy": "accuracy/tokens",
    "validation_loss": "validation/loss",
    "validation_loss_coordinates": "validation/loss_coordinates",
    "validation_loss_classes": "validation/loss_classes",
    "validation_token_accuracy": "validation/token_accuracy",
    "AP": "evaluation/AP",
    "AP50": "evaluation/AP50",
    "learning_rate": "optimizer/learning_rate",
    "gradient_norm": "optimizer/gradient_norm",
    "weight_norm": "optimizer/weight_norm",
    "images_per_second": "speed/images_per_second",
    "input_wait": "speed/share_of_time_waiting_for_input",
}


class Summaries:
    """Writes event files to a folder, local or gs://; a context manager, which closes them.

    Without a folder it writes nothing.

    Attributes:
      is_new: nothing was written to the folder before.

    Raises:
      UserError: the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike | None) -> None:
        self.is_new = False
        if folder is None:
            self._writer = tf.summary.create_noop_writer()
            return
        try:
            place = epath.Path(folder)
            self.is_new = not (place.is_dir() and any(place.iterdir()))
            self._writer = tf.summary.create_file_writer(os.fspath(folder))
            self._writer.init()
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"The TensorBoard logs {folder} cannot be written ({error}): name another folder."
            ) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the values that have a place in TensorBoard."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                # COCO's -1 is no number: there was nothing to measure.
                if name in _GROUPS and not (name in ("AP", "AP50") and value < 0):
                    tf.summary.scalar(_GROUPS[name], value)
        self._writer.flush()

    def images(self, step: int, name: str, images) -> None:
        """Writes pictures.

        Args:
          step: where they stand on the axis of steps.
          name: their heading.
          images: (B, height, width, 3), uint8 or float in [0, 1].
        """
        with self._writer.as_default(step=step):
            tf.summary.image(name, images, max_outputs=len(images))
        self._writer.flush()

    def __enter__(self) -> "Summaries":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
