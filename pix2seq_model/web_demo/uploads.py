"""Uploads on their way: each within its time and size, all of them within one budget of memory.

An upload that has not wholly arrived holds no place in the queue for the model, so whoever sends
slowly holds up nobody. Memory is kept by giving up the upload that has been on its way for longest.
"""

import asyncio
import re
from http import HTTPStatus

from starlette.requests import Request

_LENGTH = re.compile(r"[0-9]{1,20}")


class RefusedError(Exception):
    """What the page is told, and the status of the answer."""

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


class Uploads:
    """Reads the bodies of requests; for one event loop."""

    def __init__(self, *, max_bytes: int, seconds: float, budget: int) -> None:
        """
        Args:
          max_bytes: of one upload; it is refused by its announced size, before it is read.
          seconds: in which all of an upload must arrive.
          budget: bytes of all uploads that are on their way.
        """
        self._max_bytes, self._seconds, self._budget = max_bytes, seconds, budget
        # The oldest first; the value is what has arrived, in bytes.
        self._arrived: dict[asyncio.Timeout, int] = {}

    async def read(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
          RefusedError: its size is not said, wrong or too large, or it took too long.
          ClientDisconnect: the client left before all of it had arrived.
        """
        self._check_length(request)
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds) as deadline:
                try:
                    async for chunk in request.stream():
                        body += chunk
                        self._arrived[deadline] = len(body)
                        self._keep_budget()
                finally:
                    self._arrived.pop(deadline, None)
        except TimeoutError:
            raise RefusedError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the file did not arrive within {self._seconds:g} s, or others needed its place; "
                "try again",
            ) from None
        return bytes(body)

    def _check_length(self, request: Request) -> None:
        announced = request.headers.get("content-length")
        if announced is None:
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "the request does not say its size")
        if not _LENGTH.fullmatch(announced):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the Content-Length is no number of bytes")
        length, limit = int(announced), self._max_bytes
        if length > limit:
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the file has {length / 1e6:,.1f} MB; the limit is {limit / 1e6:,.1f} MB",
            )

    def _keep_budget(self) -> None:
        if sum(self._arrived.values()) > self._budget:
            oldest = next(iter(self._arrived))
            del self._arrived[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())
