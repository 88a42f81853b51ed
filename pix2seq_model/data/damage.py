"""Says which record of an examples folder is damaged, when reading it has failed.

tf.data's messages name an operation, not a file. So the reader of the batches runs inside
`reading_errors_named`, and when it fails the split is read again, slowly and record by record.
"""

import concurrent.futures
import contextlib
import io
import os
from collections.abc import Callable, Iterator

import tensorflow as tf
from PIL import Image

from pix2seq_model.data.image_check import decoded_bytes
from pix2seq_model.data.manifest import ShardInfo, read_dataset_info
from pix2seq_model.data.pixel_budget import pixel_budget
from pix2seq_model.data.records import decode_example
from pix2seq_model.data.shard_check import checked_records, known_problem
from pix2seq_model.errors import DataError

_ERRORS = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError)


@contextlib.contextmanager
def reading_errors_named(
    examples_dir: str | os.PathLike[str], split: str, *, say: Callable[[str], None] = print
) -> Iterator[None]:
    """Turns a failure to read batches of a split into one that names shard, record and image.

    Args:
      examples_dir: examples folder.
      split: name of the split that is read inside the `with`.
      say: called when the search begins, which takes as long as reading and decoding the split.

    Raises:
      DataError: reading failed and a damaged record was found. Every other exception passes.
    """
    try:
        yield
    except _ERRORS as error:
        # The network's own operations raise InvalidArgumentError too, but outside the iterator.
        if "IteratorGetNext" not in str(error):
            raise
        paths = read_dataset_info(examples_dir).shard_paths(examples_dir, split)
        if problem := known_problem(paths):
            raise DataError(problem) from error
        say(f"Reading split {split!r} of {examples_dir} failed; looking for the damaged record.")
        damage = find_damage(examples_dir, split)
        if damage is None:
            raise
        raise DataError(damage) from error


def find_damage(examples_dir: str | os.PathLike[str], split: str) -> str | None:
    """Reads every record of a split, decoding its image, and describes the first damaged one,
    or the first shard that is not the manifest's.

    Returns:
      None if all is well.

    Raises:
      DataError: there is no such data set or split.
    """
    info = read_dataset_info(examples_dir)
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        paths = info.shard_paths(examples_dir, split)
        for damage in pool.map(_damage_of_shard, paths, info.split(split).shards):
            if damage:
                pool.shutdown(wait=False, cancel_futures=True)
                return damage
    return None


def _damage_of_shard(path: str, shard: ShardInfo) -> str | None:
    try:
        for number, serialized in enumerate(checked_records(path, shard)):
            if damage := damage_of_record(serialized):
                return f"{path}, record {number}: {damage}; convert the data set again"
    except (DataError, OSError) as error:
        return str(error)
    return None


@contextlib.contextmanager
def _pixels_of(encoded: bytes) -> Iterator[None]:
    """Room for an image; none for one whose header says no size, which cannot be decoded either."""
    size = 0
    with contextlib.suppress(Exception), Image.open(io.BytesIO(encoded)) as image:
        size = decoded_bytes(image)
    with pixel_budget().hold(size):
        yield


def damage_of_record(serialized: bytes) -> str | None:
    """What is wrong with a record, which image it is of included; None if all is well."""
    try:
        example = decode_example(serialized)
    except DataError as error:
        return str(error)
    name = f"image {example['image_id']} ({example['filename']})"
    try:
        with _pixels_of(example["image_encoded"]):
            image = tf.io.decode_image(
                example["image_encoded"], channels=3, expand_animations=False
            )
    except tf.errors.InvalidArgumentError:
        return (
            f"{name} cannot be decoded, though its header is whole; a conversion with "
            "--check_pixels, in a config data.<stage>.check_pixels=True, leaves such images out"
        )
    stored = (example["height"], example["width"])
    if tuple(image.shape[:2]) != stored:
        return f"{name} has {tuple(image.shape[:2])} rows and columns, the record says {stored}"
    return None
