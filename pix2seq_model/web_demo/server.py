"""The web server of the page: uvicorn, with this page's limits."""

import ipaddress
import socket
import threading

import uvicorn

from pix2seq_model.web_demo.app import Model, make_app
from pix2seq_model.web_demo.connections import Room, limited_connections
from pix2seq_model.web_demo.limits import Limits

_CONNECTIONS = 64
_BACKLOG = 1024
# Beyond the application's own limit, which says why.
_GRACE_SECONDS = 5.0
_LAST_SECONDS = 5  # Of requests that are still open when the server is told to end.


class DemoServer:
    """Serves the page; `serve_forever` runs it.

    Attributes:
      address: to open in a browser.
      is_local: only this machine can reach it.
      server_address: (host, port).
    """

    def __init__(
        self,
        model: Model,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        max_connections: int = _CONNECTIONS,
    ) -> None:
        """
        Args:
          model: answers.
          host: address to listen at; the default can be reached from this machine alone.
          port: 0 takes one that is free.
          limits: of uploads; those of `Limits` by default.
          max_connections: at once, see `connections.Room`.

        Raises:
          OSError: the port is taken, or the address not this machine's.
        """
        limits = limits or Limits()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        number, self.port = self._socket.getsockname()[:2]
        self.server_address = (number, self.port)
        self.address = f"http://{f'[{number}]' if ':' in number else number}:{self.port}/"
        self.is_local = ipaddress.ip_address(number).is_loopback
        room = Room(
            max_connections=max_connections,
            seconds=limits.upload_seconds + _GRACE_SECONDS,
            max_bytes=limits.max_bytes,
        )
        self._thread: threading.Thread | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(model, limits, is_local=self.is_local),
                http=limited_connections(room),
                loop="asyncio",
                ws="none",
                lifespan="off",
                backlog=_BACKLOG,
                timeout_graceful_shutdown=_LAST_SECONDS,
                # Each detection has its own line; other output would hide it.
                access_log=False,
                log_config=None,
                log_level="critical",
                server_header=False,
            )
        )

    def serve_forever(self) -> None:
        """Answers until `stop` is called from another thread or a signal's handler."""
        self._server.run(sockets=[self._socket])

    def start(self) -> threading.Thread:
        """`serve_forever` in a thread of its own, so that signals stay with the caller."""
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()
        return self._thread

    def stop(self) -> None:
        """Ends `serve_forever` soon; does not wait for it."""
        self._server.should_exit = True

    def __enter__(self) -> "DemoServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()
        self._socket.close()
