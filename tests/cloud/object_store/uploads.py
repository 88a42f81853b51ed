"""Resumable uploads as Google documents them: parts that continue where the earlier ones ended.

fake-gcs-server takes a client's question how far an upload is for its end, and keeps half a file.
So the parts are put together here, and the store gets the whole.
"""

import dataclasses
import re

_RANGE = re.compile(r"^bytes (?:(?P<first>\d+)-(?P<last>\d+)|\*)/(?P<total>\d+|\*)$")
# Of a part that was cut, the store keeps a multiple of this.
_KEPT_BYTES = 256 << 10


@dataclasses.dataclass
class Upload:
    """One upload.

    Attributes:
      received: what is there, from the first byte on.
      answer: of the store, once the file is complete there.
    """

    received: bytes = b""
    answer: tuple[int, list[tuple[str, str]], bytes] | None = None

    def take(self, content_range: str | None, body: bytes) -> bool:
        """Adds a part; returns whether the file is complete.

        Args:
          content_range: the header: "bytes 0-99/200", "bytes 0-99/*" where the end is not known
            yet, "bytes */200" to ask how far it is or to say that this is all; None for the whole
            file.
          body: the part.

        Raises:
          ValueError: another header.
        """
        if content_range is None:
            self.received = body
            return True
        found = _RANGE.match(content_range)
        if not found:
            raise ValueError(f"Content-Range: {content_range}")
        if found["first"] is not None and int(found["first"]) <= len(self.received):
            self.received = self.received[: int(found["first"])] + body
        return found["total"] == str(len(self.received))

    def take_cut(self, content_range: str | None, body: bytes) -> None:
        """Adds what came of a part before its connection was cut."""
        found = _RANGE.match(content_range or "bytes 0-0/*")
        first = int(found["first"] or 0)
        if first <= len(self.received):
            there = self.received[:first] + body
            self.received = there[: max(first, len(there) // _KEPT_BYTES * _KEPT_BYTES)]

    def progress(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """The answer to who is not done."""
        headers = [("Range", f"bytes=0-{len(self.received) - 1}")] if self.received else []
        return 308, headers, b""
