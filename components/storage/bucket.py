"""Objects of Google Cloud Storage, by one client for each process.

Beam's own file system makes a client for each call, and with it a TLS context and a connection:
some fifty times the processor time of the request itself. This client keeps its connections open,
for all threads of the process; a process that is forked off makes its own. It signs in as Beam
does. Requests that fail for a while are tried again by Google's library, for two minutes. What the
account may not do is an `UnavailableError` in every function: it says nothing of the data.
"""

import calendar
import contextlib
import datetime
import os
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.gcp import gcsio
from apache_beam.options.pipeline_options import PipelineOptions
from google.api_core.exceptions import (
    Forbidden,
    NotFound,
    RequestRangeNotSatisfiable,
    Unauthorized,
)
from google.cloud.storage import Blob, Client
from google.cloud.storage.fileio import BlobWriter
from requests.adapters import HTTPAdapter

from pix2seq_model.errors import UnavailableError

SCHEME = "gs://"
# Kept open; more than the requests that a process makes at a time.
_CONNECTIONS = 64
# The most that an answer to a listing holds.
OBJECTS_PER_PAGE = 1000
_LISTED = "items(name,size,updated,crc32c),prefixes,nextPageToken"
# Of an object that is read or written little by little; so much of it is held.
_PART_BYTES = 16 << 20
_CONTENT_TYPE = "application/octet-stream"


class ObjectMetadata(FileMetadata):
    """Metadata of an object.

    Attributes:
      crc32c: of its content, in base64.
    """

    def __init__(self, path: str, size: int, seconds: float, crc32c: str):
        super().__init__(path, size, seconds)
        self.crc32c = crc32c


class _Writer(BlobWriter):
    """Ends an upload only when told that all is there; Python closes a forgotten file."""

    is_complete = False

    def close(self) -> None:
        if self.is_complete:
            super().close()


class _Shared:
    """The client of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.client: Client | None = None


_shared = _Shared()


def forget_client() -> None:
    """Makes the next request with a new client; the lock is new too, as a fork may copy it held."""
    global _shared
    _shared = _Shared()


# Two processes that write to one connection would read each other's answers.
os.register_at_fork(after_in_child=forget_client)


def client() -> Client:
    """Returns the process's client; it may be used by several threads at a time."""
    with (shared := _shared).lock:
        if shared.client is None:
            # As Beam's workers were told to sign in.
            options = FileSystems._pipeline_options or PipelineOptions()
            made = gcsio.create_storage_client(options)
            for protocol in ("https://", "http://"):
                made._http.mount(protocol, HTTPAdapter(pool_maxsize=_CONNECTIONS))
            shared.client = made
        return shared.client


def is_in_bucket(path: str) -> bool:
    return path.startswith(SCHEME)


def read_object(path: str) -> bytes:
    """Returns an object as it is stored, compared with its checksum.

    Raises:
      FileNotFoundError: there is none.
      GoogleAPICallError, OSError, DataCorruption: it cannot be read, or not now.
    """
    with _answered(path):
        return _blob(path).download_as_bytes(raw_download=True, single_shot_download=True)


def read_range(path: str, offset: int, size: int) -> bytes:
    """Returns a part of an object, shorter where it ends.

    Raises:
      FileNotFoundError: there is no such object.
      GoogleAPICallError, OSError: it cannot be read, or not now.
    """
    if not size:
        return b""
    with _answered(path), contextlib.suppress(RequestRangeNotSatisfiable):
        return _blob(path).download_as_bytes(
            start=offset,
            end=offset + size - 1,
            raw_download=True,
            single_shot_download=True,
            checksum=None,
        )
    return b""


def open_object(path: str, *, part_bytes: int = _PART_BYTES) -> BinaryIO:
    """Opens an object for reading, at least `part_bytes` at a time.

    Raises:
      NotFound: there is none.
    """
    with _answered(path, is_needed=False):
        return gcsio.GcsIO(storage_client=client()).open(path, read_buffer_size=part_bytes)


def write_object(path: str, content: bytes) -> None:
    """Writes an object by one request, if it has no more than eight megabytes."""
    with _answered(path, is_needed=False):
        _blob(path).upload_from_string(content, content_type=_CONTENT_TYPE)


@contextlib.contextmanager
def new_object(path: str) -> Iterator[BinaryIO]:
    """An object that appears, whole, when the `with` block succeeds, and else not at all."""
    writer = _Writer(
        _blob(path), chunk_size=_PART_BYTES, ignore_flush=True, content_type=_CONTENT_TYPE
    )
    with _answered(path, is_needed=False):
        try:
            yield writer
        except BaseException:
            # An upload that is never ended leaves no object.
            with contextlib.suppress(Exception):
                writer.terminate()
            raise
        writer.is_complete = True
        writer.close()


def object_metadata(path: str) -> ObjectMetadata | None:
    """Returns an object's size and time, or None if there is none."""
    bucket, name = _split(path)
    with _answered(path):
        found = client().bucket(bucket).get_blob(name) if name else None
    return found and _metadata(path, found)


def list_objects(
    folder: str, *, folders: list[str] | None = None, at_most: int | None = None
) -> Iterator[ObjectMetadata]:
    """Yields the objects below a folder in the order of their names, by one request a thousand.

    Args:
      folder: gs:// address; only names that go on after a slash are below it.
      folders: None lists all that is below; else only what is directly in the folder, and the
        addresses of the folders in it, which end with a slash, are added here.
      at_most: so many.
    """
    # What a listing names as a folder may end with several slashes.
    root = folder if folder.endswith("/") else f"{folder}/"
    bucket, prefix = root.removeprefix(SCHEME).split("/", 1)
    found = client().list_blobs(
        bucket,
        prefix=prefix,
        delimiter=None if folders is None else "/",
        max_results=at_most,
        fields=_LISTED,
    )
    with _answered(folder, is_needed=False):
        for blob in found:
            if not blob.name.endswith("/"):  # A folder made by hand.
                yield _metadata(f"{SCHEME}{bucket}/{blob.name}", blob)
    if folders is not None:
        folders += [f"{SCHEME}{bucket}/{name}" for name in sorted(found.prefixes)]


def _split(path: str) -> tuple[str, str]:
    bucket, _, name = path.removeprefix(SCHEME).partition("/")
    return bucket, name


def _blob(path: str) -> Blob:
    bucket, name = _split(path)
    if not name:
        raise FileNotFoundError(path)
    return client().bucket(bucket).blob(name)


def _metadata(path: str, blob: Any) -> ObjectMetadata:
    return ObjectMetadata(path, blob.size, _seconds(blob.updated), blob.crc32c or "")


def _seconds(time: datetime.datetime) -> float:
    # To the last digit as Beam gives it: an image's version, in milliseconds, comes from it.
    return calendar.timegm(time.utctimetuple()) + time.microsecond / 1000000.0


@contextlib.contextmanager
def _answered(path: str, *, is_needed: bool = True) -> Iterator[None]:
    """Raises what refusals mean: that there is no object, if one is needed, or no permission."""
    try:
        yield
    except (Forbidden, Unauthorized) as error:
        raise UnavailableError(
            f"{path}: {error.message}. Give the account that this runs as "
            "roles/storage.objectViewer on the bucket to read, roles/storage.objectAdmin to write, "
            "and run the same command again: what is finished is kept"
        ) from error
    except NotFound as error:
        if not is_needed:
            raise
        raise FileNotFoundError(f"{path}: {error.message}") from error
