"""What lies at a place in a bucket, as one digest of names, sizes and generations.

Nothing is read: an object that was written again has another generation. A listing is one request
for each thousand objects, some in parallel where they are in several folders.
"""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import TYPE_CHECKING

from google.api_core.exceptions import BadRequest, Forbidden, NotFound, Unauthorized

from pix2seq_model.errors import ConfigError, DataError

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

_FIELDS = "items(name,size,generation),prefixes,nextPageToken"
# Of requests; the client's own connections are ten.
_THREADS = 8


@dataclasses.dataclass(frozen=True)
class Listing:
    """Objects of a bucket.

    Attributes:
      count: how many.
      digest: of their names, sizes and generations.
    """

    count: int
    digest: str


def bucket_address(place: str) -> str:
    """gs://bucket/folder, also of /gcs/bucket/folder, as Vertex AI shows it; "" of other places."""
    if place.startswith("/gcs/"):
        return f"gs://{place.removeprefix('/gcs/')}"
    return place if place.startswith("gs://") else ""


def list_place(client: "Client", place: str, setting: str) -> Listing:
    """Lists a folder or file of a bucket, or the files of which it is the beginning before a dot.

    Args:
      client: of the store.
      place: gs:// or /gcs/ address.
      setting: that names it, for messages.

    Raises:
      ConfigError: it is not in a bucket.
      DataError: there is nothing, or it may not be listed.
    """
    what = f"{setting}={place}"
    if not (address := bucket_address(place)):
        raise ConfigError(f"{what}: a step on Vertex AI reads from a bucket; give a gs:// address.")
    bucket, _, path = address.removeprefix("gs://").rstrip("/").partition("/")
    list_blobs = functools.partial(client.list_blobs, bucket, fields=_FIELDS)
    with _explained(what, bucket):
        files = []
        if path:
            # A checkpoint's files have its name before their dots.
            found = list_blobs(prefix=path, delimiter="/")
            files = [blob for blob in found if f"{blob.name}.".startswith(f"{path}.")]
        folder = f"{path}/" if path else ""
        top = list_blobs(prefix=folder, delimiter="/")
        parts = [_listing(files), _listing(top)]
        with futures.ThreadPoolExecutor(_THREADS) as threads:
            parts += threads.map(lambda f: _listing(list_blobs(prefix=f)), sorted(top.prefixes))
    count = sum(part.count for part in parts)
    if not count:
        raise DataError(f"{what}: there is nothing. Give the address of the data.")
    return Listing(count, _digest(part.digest for part in parts))


def _listing(blobs: "Iterable[Blob]") -> Listing:
    """In the order of the listing, which is that of the names."""
    count, whole = 0, hashlib.sha256()
    for blob in blobs:
        if not blob.name.endswith("/"):  # A folder made by hand.
            count += 1
            whole.update(f"{blob.name}\0{blob.size}\0{blob.generation}\n".encode())
    return Listing(count, whole.hexdigest())


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@contextlib.contextmanager
def _explained(what: str, bucket: str) -> Iterator[None]:
    try:
        yield
    except (Forbidden, Unauthorized) as error:
        raise DataError(
            f"{what} may not be listed: {error.message}. Give the account that this step runs as "
            f"roles/storage.objectViewer on gs://{bucket}."
        ) from error
    except (NotFound, BadRequest) as error:
        raise DataError(f"{what}: there is no bucket gs://{bucket} ({error.message}).") from error
