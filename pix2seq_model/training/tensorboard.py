"""TensorBoard logs."""

import os
from collections.abc import Mapping

import tensorflow as tf
from etils import epath

from pix2seq_model.errors import UserError
from pix2seq_model.training.scalar_names import named_scalars


class Summaries:
    """Writes event files to a folder, local or gs://.

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
            for name, value in named_scalars(values).items():
                tf.summary.scalar(name, value)
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

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
