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
        self._writer: tf.summary.SummaryWriter | None = None
        if folder is None:
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
        if self._writer is None:
            return
        with self._written(self._writer, step):
            for name, value in named_scalars(values).items():
                tf.summary.scalar(name, value)

    def images(self, step: int, name: str, images) -> None:
        """Writes pictures.

        Args:
          step: where they stand on the axis of steps.
          name: their heading.
          images: (B, height, width, 3), uint8 or float in [0, 1].
        """
        if self._writer is None:
            return
        with self._written(self._writer, step):
            tf.summary.image(name, images, max_outputs=len(images))

    @contextlib.contextmanager
    def _written(self, writer: tf.summary.SummaryWriter, step: int) -> Iterator[None]:
        """Gives up the logs if what is made in the block cannot be written.

        TensorFlow keeps a writer whose last flush has failed as its default: from then on nothing
        may be handed to `tf.summary` here, not even with a writer that does nothing.
        """
        try:
            with writer.as_default(step=step):
                yield
            writer.flush()
        except tf.errors.InvalidArgumentError:  # What was to be written, not where to.
            raise
        except (OSError, tf.errors.OpError) as error:
            self._say(
                f"The TensorBoard logs {self._folder} cannot be written any more "
                f"({_last_line(error)}): training goes on without. Its numbers are kept with "
                "its checkpoints and its model."
            )
            self.close()

    def close(self) -> None:
        """Ends the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError, tf.errors.OpError):
                writer.close()


def _last_line(error: Exception) -> str:
    """The reason in an error of TensorFlow's, which names its operations before it."""
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return first.rpartition("; ")[2][:200]
