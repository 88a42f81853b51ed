"""One small object of a bucket that several processes write, each only over what it has read."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

# Google's libraries are imported where they are needed: training on one machine does without.
# Of one request.
_TIMEOUT_S = 30.0


class ChangedError(Exception):
    """Another process has written the object since it was read."""


def crc32c_of(address: str) -> str:
    """The checksum that the store keeps of an object, in base64; "" if there is no such object.

    Args:
      address: gs://bucket/name.

    Raises:
      OSError: the store does not answer, or refuses.
    """
    bucket, _, name = address.removeprefix("gs://").partition("/")
    with _as_os_error(address):
        blob = _client().bucket(bucket).get_blob(name, timeout=_TIMEOUT_S)
    return (blob.crc32c or "") if blob is not None else ""


def crc32c_below(folder: str) -> dict[str, str]:
    """The checksums that the store keeps of all objects below a folder, by address, in base64.

    One request for a thousand objects.

    Args:
      folder: gs://bucket/name.

    Raises:
      OSError: the store does not answer, or refuses.
    """
    bucket, _, name = folder.removeprefix("gs://").rstrip("/").partition("/")
    with _as_os_error(folder):
        blobs = _client().list_blobs(
            bucket,
            prefix=f"{name}/" if name else "",
            fields="items(name,crc32c),nextPageToken",
            timeout=_TIMEOUT_S,
        )
        return {f"gs://{bucket}/{blob.name}": blob.crc32c or "" for blob in blobs}


@functools.cache
def _client() -> Any:
    from google.cloud.storage import Client

    return Client(project=None)


class BucketFile:
    """Text in an object of Google Cloud Storage, written by generation preconditions."""

    def __init__(self, address: str) -> None:
        """
        Args:
          address: gs://bucket/name.
        """
        from google.cloud.storage import Client

        bucket, _, name = address.removeprefix("gs://").partition("/")
        with _as_os_error(address):
            self._blob = Client(project=None).bucket(bucket).blob(name)
        self._address = address

    def read(self) -> tuple[str, int]:
        """The text and its generation; "" and 0 where there is none.

        Raises:
          OSError: the store does not answer, or refuses.
        """
        from google.api_core.exceptions import NotFound

        with _as_os_error(self._address):
            try:
                # Of the object as it is now, and not as an earlier answer had it.
                blob = self._blob.bucket.blob(self._blob.name)
                text = blob.download_as_bytes(timeout=_TIMEOUT_S).decode(errors="replace")
            except NotFound:
                return "", 0
            return text, int(blob.generation or 0)

    def write(self, text: str, *, over: int) -> int:
        """Writes the text over the generation that was read; 0: where there is none.

        Returns:
          The new generation.

        Raises:
          ChangedError: it is another generation by now.
          OSError: the store does not answer, or refuses.
        """
        from google.api_core.exceptions import PreconditionFailed

        with _as_os_error(self._address):
            blob = self._blob.bucket.blob(self._blob.name)
            try:
                blob.upload_from_string(
                    text.encode(), "text/plain", if_generation_match=over, timeout=_TIMEOUT_S
                )
                return int(blob.generation or 0)
            except PreconditionFailed:
                pass
        # Our own first attempt may have been written, and its answer lost.
        found, generation = self.read()
        if found != text:
            raise ChangedError(found)
        return generation

    def delete(self, *, over: int) -> None:
        """Removes the generation; another one stays.

        Raises:
          OSError: the store does not answer, or refuses.
        """
        from google.api_core.exceptions import NotFound, PreconditionFailed

        with _as_os_error(self._address):
            try:
                self._blob.delete(if_generation_match=over, timeout=_TIMEOUT_S)
            except (NotFound, PreconditionFailed):
                return


@contextlib.contextmanager
def _as_os_error(address: str) -> Iterator[None]:
    """Errors of the store as the OSError that a disk would raise."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError) as error:
        raise OSError(f"{address}: {error}") from error
