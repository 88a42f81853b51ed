"""Many files into a bucket: several on their way at a time, and those that are there left out."""

import base64
import collections
import posixpath
from concurrent import futures
from typing import NamedTuple

import google_crc32c

from components.storage import bucket

_THREADS = 16
# On their way at a time; a larger file is alone.
_MOST_BYTES = 64_000_000


class _Content(NamedTuple):
    """What tells one content from another: its size and checksum, the latter in base64."""

    size: int
    crc32c: str

    @classmethod
    def of(cls, content: bytes) -> "_Content":
        digest = google_crc32c.Checksum(content).digest()
        return cls(len(content), base64.b64encode(digest).decode())


class Uploads:
    """Writes objects of one folder, inside a `with` block that ends when all are there.

    An upload that fails is raised by a later call or by the end of the block, as it is.

    Attributes:
      operations: how many of Google's class A so far: one for each object, and one for each
        thousand objects of a folder that is written to, which is listed. Requests that Google's
        library had to repeat are not in it.
    """

    def __init__(self, output: str):
        """
        Args:
          output: gs:// address of the folder.
        """
        self.operations = 0
        self._output = output
        self._there: dict[str, dict[str, _Content]] = {}
        self._waiting: collections.deque[tuple[str, int, futures.Future[None]]] = (
            collections.deque()
        )
        self._held = 0
        self._threads = futures.ThreadPoolExecutor(_THREADS)

    def __enter__(self) -> "Uploads":
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        try:
            while self._waiting and error_type is None:
                self._wait_for_oldest()
        finally:
            self._threads.shutdown(cancel_futures=True)

    def has(self, name: str, content: bytes) -> bool:
        """Whether an object is there, or on its way, with this content."""
        return self._listed(posixpath.dirname(name)).get(name) == _Content.of(content)

    def write(self, name: str, content: bytes) -> None:
        """Writes an object, later; of two with one name the last one stays."""
        while self._waiting and (
            len(self._waiting) >= 2 * _THREADS
            or self._held + len(content) > _MOST_BYTES
            or any(name == other for other, _, _ in self._waiting)
        ):
            self._wait_for_oldest()
        self._listed(posixpath.dirname(name))[name] = _Content.of(content)
        self._held += len(content)
        self.operations += 1
        path = f"{self._output}/{name}"
        future = self._threads.submit(bucket.write_object, path, content)
        self._waiting.append((name, len(content), future))

    def _wait_for_oldest(self) -> None:
        _, size, future = self._waiting.popleft()
        self._held -= size
        future.result()

    def _listed(self, folder: str) -> dict[str, _Content]:
        if (there := self._there.get(folder)) is None:
            place = f"{self._output}/{folder}".rstrip("/")
            folders: list[str] = []
            root = f"{self._output}/"
            there = self._there[folder] = {
                file.path.removeprefix(root): _Content(file.size_in_bytes, file.crc32c)
                for file in bucket.list_objects(place, folders=folders)
            }
            num_listed = len(there) + len(folders)
            self.operations += max(1, -(-num_listed // bucket.OBJECTS_PER_PAGE))
        return there
