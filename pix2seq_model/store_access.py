"""Whether Google Cloud Storage can be reached at all, asked once before anything waits for it.

Each client of a bucket tries again for minutes, in its own way and with its own words, where there
is no network. One connection says so at once.
"""

import base64
import contextlib
import functools
import http.client
import os
import socket
import threading
import urllib.parse
import urllib.request

from pix2seq_model.errors import UnavailableError

_SCHEME = "gs://"
_HOST = "storage.googleapis.com"
# Of one connection; and of all, since a name server that does not answer is asked several times.
_CONNECT_S, _WAIT_S = 10.0, 20.0


def check_reachable(place: str | os.PathLike, name: str = "") -> None:
    """Refuses a place in a bucket where the store cannot be reached; other places pass.

    Nothing is asked of the bucket itself, so neither a login nor a permission is needed. What was
    reached once is not asked again by this process.

    Args:
      place: a path or an address.
      name: of the flag or setting that gives it, for the message.

    Raises:
      UnavailableError: there is no connection within some 20 seconds.
    """
    place = os.fspath(place)
    if not place.startswith(_SCHEME):
        return
    emulator = _with_scheme(os.environ.get("STORAGE_EMULATOR_HOST", ""))
    target = emulator or f"https://{_HOST}"
    host = urllib.parse.urlsplit(target).hostname or ""
    proxy = "" if emulator or urllib.request.proxy_bypass(host) else _proxy()
    try:
        _connect(target, proxy)
    except OSError as error:
        way = f" through the proxy {_shown(proxy)} (https_proxy)" if proxy else ""
        given = f"{name}={place}" if name else place
        raise UnavailableError(
            f"{given}: no connection to {_shown(target)}{way} ({error.strerror or error}): "
            "connect to the network, or copy what lies there to this machine and name the copy"
        ) from None


def _proxy() -> str:
    proxies = urllib.request.getproxies()
    return _with_scheme(proxies.get("https") or proxies.get("all", ""))


def _with_scheme(address: str) -> str:
    return address if not address or "://" in address else f"http://{address}"


def _shown(address: str) -> str:
    """Host and port without the password that may stand before them."""
    return urllib.parse.urlsplit(address).netloc.rpartition("@")[2]


@functools.cache
def _connect(target: str, proxy: str) -> None:
    """Opens a connection and closes it; waits for the whole of it no longer than `_WAIT_S`."""
    failed: list[Exception] = []

    def attempt() -> None:
        try:
            with contextlib.closing(_open(target, proxy)):
                pass
        except (http.client.HTTPException, ValueError) as error:
            failed.append(OSError(f"{type(error).__name__}: {error}"))
        except Exception as error:  # Raised below, in the thread that waits.
            failed.append(error)

    # Of the look-up of a name no time can be set.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(_WAIT_S)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {_WAIT_S:.0f} s")
    if failed:
        raise failed[0]


def _open(target: str, proxy: str) -> socket.socket | http.client.HTTPConnection:
    goal, way = urllib.parse.urlsplit(target), urllib.parse.urlsplit(proxy or target)
    port = way.port or (443 if way.scheme == "https" else 80)
    if not proxy or way.scheme != "http":
        return socket.create_connection((way.hostname or "", port), timeout=_CONNECT_S)
    connection = http.client.HTTPConnection(way.hostname or "", port, timeout=_CONNECT_S)
    headers = {}
    if way.username:
        login = urllib.parse.unquote(f"{way.username}:{way.password or ''}").encode()
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(login).decode()}"
    connection.set_tunnel(goal.hostname or "", goal.port or 443, headers=headers)
    connection.connect()
    return connection
