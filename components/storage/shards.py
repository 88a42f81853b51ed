"""Shards, each written by the worker that owns it, and what is done once for all of them."""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any, TypeVar

import apache_beam as beam

from components.storage.files import progress_file
from components.storage.notes import read_note, write_note

_LOCAL_THREADS = 8
# They hide the 30 to 100 ms that a bucket takes for a request; more would take turns at a core.
_BUCKET_THREADS = 16
# Read, or being read, at a time; a larger file is read alone.
_MOST_BYTES = 256_000_000
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ShardOwner(beam.DoFn):
    """Writes shards; one that a run before finished is kept as it is.

    The files of a shard appear whole; the note that it is complete, its report, comes after them. A
    shard with such a note for the same content is not written again: this is how a run continues
    after a kill.

    Args:
      output: folder.
      in_bucket: whether what is read to write a shard is behind a network.
    """

    def __init__(self, output: str, *, in_bucket: bool = False):
        self._output = output
        self._num_threads = _BUCKET_THREADS if in_bucket else _LOCAL_THREADS

    def setup(self) -> None:
        self._threads = futures.ThreadPoolExecutor(self._num_threads)

    def teardown(self) -> None:
        self._threads.shutdown()

    def is_kept(self, report: dict[str, Any]) -> bool:
        """Whether the shard of an earlier report is what would be written, and its files there."""
        raise NotImplementedError

    def report(
        self, place: tuple[str, int, int], content_key: str, write: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Returns the report of a shard, of a run before this or of `write`.

        Args:
          place: split, shard, shards.
          content_key: the digest of all that decides what is in the shard.
          write: writes the shard and returns its report; one with a `problem` is not noted.
        """
        note = progress_file(*place)
        report = read_note(self._output, note)
        if report.get("content_key") != content_key or not self.is_kept(report):
            report = {**write(), "content_key": content_key}
            if not report.get("problem"):
                write_note(self._output, note, report)
        return report

    def read_ahead(
        self,
        read: Callable[[_Item], _Result],
        items: Iterable[_Item],
        *,
        most: int,
        size: Callable[[_Item], int] = lambda item: 0,
    ) -> Iterator[tuple[_Item, "futures.Future[_Result]"]]:
        """Reads in threads and yields in order.

        Args:
          read: reads an item.
          items: in their order.
          most: so many are in memory at a time.
          size: bytes of an item; no more than 256 MB are in memory at a time, or one item.
        """
        waiting: collections.deque[tuple[_Item, futures.Future[_Result]]] = collections.deque()
        held = 0
        for item in items:
            held += size(item)
            while waiting and (held > _MOST_BYTES or len(waiting) >= most):
                held -= size(waiting[0][0])
                yield waiting.popleft()
            waiting.append((item, self._threads.submit(read, item)))
        yield from waiting


@beam.ptransform_fn
def Once(  # noqa: N802
    pbegin: beam.pvalue.PBegin,
    function: Callable[..., Any],
    output: str,
    *arguments: Any,
    **lists: beam.PCollection,
) -> beam.PCollection:
    """Calls a function once, with whole PCollections as lists when they are complete.

    Args:
      pbegin: of the pipeline.
      function: called as `function(output, *arguments, name=list)`.
      output: folder.
      *arguments: more values.
      **lists: by the function's names of the lists; their order is not always the same.
    """
    sides = {name: beam.pvalue.AsList(collection) for name, collection in lists.items()}
    return pbegin | beam.Create([output]) | beam.Map(function, *arguments, **sides)
