"""TensorBoard logs."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping

import tensorflow as tf
from etils import epath

from pix2seq_model.errors import UserError
from pix2seq_model.training.scalar_names import named_scalars


class Summaries:
    """Writes event files to a folder, local or gs://.

    Without a folder it writes nothing.

    Charts decide nothing: if the folder cannot be written any more, as on a full disk, that is said
    once and nothing more is written.

    Attributes:
      is_new: nothing was written to the folder before.

    Raises:
      UserError: the folder cannot be written at the start.
    """

    def __init__(
        self, folder: str | os.PathLike | None, *, say: Callable[[str], None] = print
    ) -> None:
        self.is_new = False
        self._folder, self._say = folder, say
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
        with self._written(step):
            for name, value in named_scalars(values).items():
                tf.summary.scalar(name, value)

    def images(self, step: int, name: str, images) -> None:
        """Writes pictures.

        Args:
          step: where they stand on the axis of steps.
          name: their heading.
          images: (B, height, width, 3), uint8 or float in [0, 1].
        """
        with self._written(step):
            tf.summary.image(name, images, max_outputs=len(images))

    @contextlib.contextmanager
    def _written(self, step: int) -> Iterator[None]:
        """Gives up the logs if what is made in the block cannot be written."""
        try:
            with self._writer.as_default(step=step):
                yield
            self._writer.flush()
        except tf.errors.InvalidArgumentError:  # What was to be written, not where to.
            raise
        except (OSError, tf.errors.OpError) as error:
            self._say(
                f"The TensorBoard logs {self._folder} cannot be written any more "
                f"({_last_line(error)}): training goes on without. Its numbers are kept with "
                "its checkpoints and its model."
            )
            self._close()
            self._writer = tf.summary.create_noop_writer()

    def _close(self) -> None:
        with contextlib.suppress(OSError, tf.errors.OpError):
            self._writer.close()

    def close(self) -> None:
        """Ends the file."""
        self._close()


def _last_line(error: Exception) -> str:
    """The reason in an error of TensorFlow's, which names its operations before it."""
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return first.rpartition("; ")[2][:200]
