"""Whether the shards of an examples folder are what its manifest says.

A record has a checksum of its own, which every reader compares. It says nothing of a shard that was
replaced by another, or of a record that another program wrote. So a shard is read once more when a
process first needs it, and what comes of that is remembered as long as the file stays the same. Of
one in a bucket the store is asked for its checksum instead, if the labels were counted.
"""

import base64
import concurrent.futures
import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, BinaryIO

import google_crc32c
from etils import epath

from pix2seq_model import bucket_file
from pix2seq_model.data.manifest import FILE_NAME, DatasetInfo, ShardInfo, read_statistics
from pix2seq_model.data.records import labels_of
from pix2seq_model.data.tfrecord import read_records
from pix2seq_model.errors import DataError, UnavailableError
from pix2seq_model.regular_file import irregular_kind

_FIX = "convert the data set again"


class Digests:
    """The checksums of bytes that come one after the other, as a manifest has them.

    Args:
      fast_only: not the SHA-256, which takes five times as long as reading.
    """

    def __init__(self, *, fast_only: bool = False) -> None:
        self._crc = google_crc32c.Checksum()
        self._sha = None if fast_only else hashlib.sha256()

    def update(self, content: bytes) -> None:
        self._crc.update(content)
        if self._sha:
            self._sha.update(content)

    def values(self) -> dict[str, str]:
        """`crc32c` in base64, as Google Cloud Storage shows it, and hexadecimal `sha256`."""
        found = {"crc32c": base64.b64encode(self._crc.digest()).decode()}
        return {**found, "sha256": self._sha.hexdigest()} if self._sha else found


def _open(path: str) -> BinaryIO:
    if kind := irregular_kind(path):
        raise DataError(f"{path} {kind}; {_FIX}")
    return epath.Path(path).open("rb")


def checked_records(
    path: str,
    shard: ShardInfo,
    *,
    thorough: bool = False,
    open_file: Callable[[str], BinaryIO] = _open,
) -> Iterator[bytes]:
    """Yields a shard's records; what is known at its end alone is raised there.

    Args:
      path: of the shard.
      shard: what the manifest says of it.
      thorough: compares its SHA-256 too where the manifest has the faster CRC-32C.
      open_file: opens a path.

    Raises:
      DataError: the shard is missing, damaged, or not the one of the manifest.
    """
    digests = Digests(fast_only=bool(shard.crc32c) and not thorough)
    count = 0
    try:
        with open_file(path) as file:
            for record in read_records(_Digested(file, digests), name=path):
                count += 1
                yield record
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {_FIX}") from None
    for name, value in digests.values().items():
        if (said := getattr(shard, name)) and said != value:
            raise DataError(
                f"{path} is not the shard that {FILE_NAME} names: its {name} is {value}, the "
                f"manifest says {said}; {_FIX}"
            )
    if count != shard.num_examples:
        raise DataError(
            f"{path} has {count} records, {FILE_NAME} says {shard.num_examples}; {_FIX}"
        )


class _Digested:
    """A file that is read from its beginning to its end; its bytes go to checksums as well."""

    def __init__(self, file: BinaryIO, digests: Digests) -> None:
        self._file, self._digests = file, digests

    def read(self, size: int) -> bytes:
        some = self._file.read(size)
        self._digests.update(some)
        return some


def check_shard(
    path: str, shard: ShardInfo, labels: Collection[int], *, thorough: bool = False
) -> None:
    """Reads a shard to its end.

    Args:
      path, shard, thorough: see `checked_records`; thorough refuses what is no record of ours too.
      labels: ids of the manifest's categories.

    Raises:
      DataError: see `checked_records`; or a record has another label.
    """
    for number, record in enumerate(checked_records(path, shard, thorough=thorough)):
        try:
            found = labels_of(record)
        except Exception as error:  # Whatever protobuf raises of bytes that are no message.
            if not thorough:  # Whoever reads the record will say so, and may know more of it.
                continue
            raise DataError(
                f"{path}, record {number}: no example of this schema ({error}); {_FIX}"
            ) from None
        check_labels(found, labels, record=f"{path}, record {number}")


def check_labels(found: Iterable[int], labels: Collection[int], *, record: str) -> None:
    """Compares the labels of a record's objects with the ids of the manifest's categories.

    Args:
      found: of the record.
      labels: of the manifest.
      record: what to call it.

    Raises:
      DataError: there is another one.
    """
    if unlisted := sorted(set(found) - set(labels)):
        raise DataError(
            f"{record}: the label {unlisted[0]} is none of the categories of {FILE_NAME}; {_FIX}"
        )


def folder_problems(
    directory: str | os.PathLike[str],
    info: DatasetInfo,
    split: str,
    *,
    damage: Callable[[bytes], str | None] | None = None,
) -> list[str]:
    """What is wrong with the shards of a split, the first of each: read whole, all checksums.

    Args:
      directory: examples folder.
      info: its manifest.
      split: of it.
      damage: says what else is wrong with a record; see `data.damage.damage_of_record`.
    """

    def problem(path: str, shard: ShardInfo) -> str:
        try:
            check_shard(path, shard, labels, thorough=True)
            if damage is not None:
                for number, record in enumerate(checked_records(path, shard)):
                    if found := damage(record):
                        return f"{path}, record {number}: {found}; {_FIX}"
        except DataError as error:
            return str(error)
        return ""

    labels = frozenset(info.category_names())
    paths = info.shard_paths(directory, split)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(filter(None, pool.map(problem, paths, info.split(split).shards)))


class _Remembered:
    """What came of a shard, and the lock that one thread holds while it reads the shard."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.state: Any = None
        self.problem = ""


_remembered: dict[str, _Remembered] = {}
_lock = threading.Lock()


def check_shard_once(
    path: str, shard: ShardInfo, labels: Collection[int], *, is_counted: bool = False
) -> None:
    """`check_shard`, the first time that this process is asked of the file as it is now.

    Args:
      path, shard, labels: see `check_shard`.
      is_counted: `check_counted_labels` has compared the labels, so that the checksum is enough.
    """
    with _lock:
        known = _remembered.setdefault(path, _Remembered())
    with known.lock:
        state = (_state(path), shard, frozenset(labels))
        if known.state != state:
            known.problem = ""
            try:
                if not (is_counted and _is_stored_so(path, shard)):
                    check_shard(path, shard, labels)
            except DataError as error:
                known.problem = str(error)
            known.state = state
    if known.problem:
        raise DataError(known.problem)


def _is_stored_so(path: str, shard: ShardInfo) -> bool:
    """Whether a bucket says that it holds the manifest's shard: to read it twice would cost hours.

    Google Cloud Storage computes the checksum of what it has received, and keeps it.
    """
    if not shard.crc32c or not path.startswith("gs://"):
        return False
    try:
        return bucket_file.crc32c_of(path) == shard.crc32c
    except (OSError, ImportError):
        return False  # Read, then.


def check_stored(directory: str | os.PathLike[str], info: DatasetInfo) -> None:
    """Compares the checksums that a bucket keeps of a folder's shards with the manifest's.

    Without reading them, by a listing of each folder; a local folder keeps none. Without Google's
    client nothing is compared: whoever reads the shards does that then.

    Raises:
      DataError: a shard is another one, or missing.
      UnavailableError: the bucket does not answer, or refuses.
    """
    if not os.fspath(directory).startswith("gs://"):
        return
    shards = [
        (path, shard)
        for split in info.splits
        for path, shard in zip(info.shard_paths(directory, split), info.split(split).shards)
        if shard.crc32c
    ]
    stored: dict[str, str] = {}
    for folder in sorted({os.path.dirname(path) for path, _ in shards}):
        try:
            stored |= bucket_file.crc32c_below(folder)
        except ImportError:
            return
        except OSError as error:
            raise UnavailableError(
                f"{folder}: the checksums of its shards cannot be listed now ({error}); run the "
                "same command again"
            ) from error
    for path, shard in shards:
        if (found := stored.get(path, "")) != shard.crc32c:
            raise DataError(
                f"{path} is not the shard that {FILE_NAME} names: its crc32c is "
                f"{found or 'none: it is missing'}, the manifest says {shard.crc32c}; {_FIX}"
            )


def check_counted_labels(directory: str | os.PathLike[str], info: DatasetInfo, split: str) -> bool:
    """Compares the classes that the conversion counted with the categories of the manifest.

    Of a shard in a bucket whose checksum is right no record is looked at, so that categories which
    were taken out of the manifest would not be missed.

    Returns:
      Whether they were compared; not if no conversion has counted them.

    Raises:
      DataError: a class was counted that is no category.
    """
    try:
        counted = read_statistics(directory)[split]["images_with_class"]
        labels = {int(label) for label in counted}
    except (DataError, KeyError, TypeError, ValueError):
        return False
    if unlisted := sorted(labels - set(info.category_names())):
        raise DataError(
            f"{os.fspath(directory)}: split {split!r} has objects of the label {unlisted[0]}, "
            f"which is none of the categories of {FILE_NAME}; {_FIX}"
        )
    return True


def known_problem(paths: Collection[str]) -> str:
    """What `check_shard_once` last found wrong with one of these shards; "" if nothing."""
    with _lock:
        found = [_remembered[path].problem for path in paths if path in _remembered]
    return next(filter(None, found), "")


def _state(path: str) -> tuple[float, ...] | None:
    try:
        if "://" not in path:  # In nanoseconds: a file may be written twice in a second.
            status = os.stat(path)
            return status.st_size, status.st_mtime_ns, status.st_ino
        stored = epath.Path(path).stat()
        return stored.length, stored.mtime
    except FileNotFoundError:
        return None
