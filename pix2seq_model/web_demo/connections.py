"""How long and how many: a connection on which nothing comes to an end does not stay.

uvicorn waits for a request, and for the reading of an answer, as long as it takes; a client that
sends a byte now and then, or reads none, would hold its connection for good.
"""

import asyncio
from typing import Any

from h11 import LocalProtocolError
from uvicorn.protocols.http.h11_impl import H11Protocol

# Of a refused upload, read so that the browser gets to see the refusal.
_DRAINED_BYTES = 64 << 20


class Room:
    """What the connections of a server share."""

    def __init__(self, *, max_connections: int, seconds: float, max_bytes: int) -> None:
        """
        Args:
          max_connections: at once. One more takes the place of the one that has kept the server
            waiting for longest.
          seconds: in which a request must have arrived, and its answer been read.
          max_bytes: of a request that is accepted.
        """
        self.max_connections, self.seconds = max_connections, seconds
        self.max_received = max_bytes + _DRAINED_BYTES
        # Those whose client is to do something, in the order in which they began to wait for it.
        self.awaited: dict[LimitedConnection, None] = {}


class LimitedConnection(H11Protocol):
    """A connection that is closed if its client lets it wait."""

    room: Room  # set by `limited_connections`
    _timer: asyncio.TimerHandle | None = None
    _received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.room.max_connections:
            next(iter(self.room.awaited), self).transport.abort()
        self._begin_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self.room.max_received:
            self.transport.abort()
            return
        super().data_received(data)
        if self._is_answering():
            self._end_waiting()

    def send_400_response(self, msg: str) -> None:
        try:
            super().send_400_response(msg)
        except LocalProtocolError:  # An answer to HEAD has no text; its first line is sent.
            self.transport.close()

    def on_response_complete(self) -> None:
        self._received = 0
        self._begin_waiting()
        super().on_response_complete()  # May go on with a request that was sent ahead.
        if self._is_answering():
            self._end_waiting()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._begin_waiting()  # The client does not read.

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._is_answering():
            self._end_waiting()

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle
        if cycle is None or self.flow.write_paused:
            return False
        return not cycle.more_body and not cycle.response_complete

    def _begin_waiting(self) -> None:
        self._end_waiting()
        self.room.awaited[self] = None
        self._timer = self.loop.call_later(self.room.seconds, self.transport.abort)

    def _end_waiting(self) -> None:
        self.room.awaited.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()


def limited_connections(given: Room) -> type[asyncio.Protocol]:
    """The connections of one server, as uvicorn's setting `http` takes them."""

    class Connection(LimitedConnection):
        room = given

    return Connection
