"""Images of records that cannot be decoded: left out of the loss and noted, up to a limit."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from etils import epath

from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.damage import damage_of_record
from pix2seq_model.data.records import decode_example
from pix2seq_model.errors import DataError
from pix2seq_model.training.job import TrainingJob
from pix2seq_model.training.notes import read_rows

FILE_NAME = "damaged_images.json"


@dataclasses.dataclass
class DamagedImages:
    """The batches of a run, in which a damaged image is black and its tokens have no weight.

    An image counts as damaged from the batch on in which that is found, and which is made again: a
    run that was continued has the same batches as one that was not. The images are written to
    `<work_dir>/damaged_images.json`, as [{"batch": 17, "image_id": "42", "damage": ...}, ...]; each
    further process has a file of its own.

    Attributes:
      job: whose batches; training stops at more images than its `max_skipped_batches`.
    """

    job: TrainingJob

    def __post_init__(self) -> None:
        index = self.job.replicas.process_index
        self._path = epath.Path(self.job.work_dir) / (
            f"{index}_{FILE_NAME}" if index else FILE_NAME
        )
        self._rows: list[dict[str, Any]] = []

    def batches(self, first_batch: int) -> Iterator[Any]:
        """This process' share of all batches from one of them on.

        Raises:
          DataError: more damaged images than the limit.
        """
        keys = {"batch": int, "image_id": str}
        rows = read_rows(self._path, keys=keys, say=self.job.progress.message)
        self._rows = [row for row in rows if row["batch"] < first_batch]
        number, batches = first_batch, self._open(first_batch)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except tf.errors.InvalidArgumentError:
                if not self._find(number):
                    raise
                batches = self._open(number)
                continue
            yield batch
            number += 1

    def _open(self, number: int) -> Iterator[Any]:
        ids = [row["image_id"] for row in self._rows]
        dataset = self.job.batches(start_step=number, damaged=ids)
        on_jax = keras.backend.backend() == "jax"
        return dataset.as_numpy_iterator() if on_jax else iter(dataset)

    def _find(self, number: int) -> bool:
        """Notes the damaged images of a batch; whether there was one not known before."""
        known = {row["image_id"] for row in self._rows}
        new = []
        for record in self.job.records(number):
            if damage := damage_of_record(record):
                new.append({"batch": number, "image_id": _image_id(record), "damage": damage})
        new = [row for row in new if row["image_id"] and row["image_id"] not in known]
        if not new:
            return False
        self._rows += new
        write_json(self._path, self._rows, indent=1)
        limit = self.job.run.settings.max_skipped_batches
        text = f"{new[-1]['damage']}. Damaged images so far: {len(self._rows)}, see {self._path}"
        if len(self._rows) > limit:
            raise DataError(f"{text}. That is more than max_skipped_batches={limit}.")
        self.job.progress.message(f"{text}. They are skipped.")
        return True


def _image_id(record: bytes) -> str:
    try:
        return decode_example(record)["image_id"]
    except Exception:  # No record of ours: what cannot be named is not skipped.
        return ""
