"""POSTs deliveries to addresses that everyone may reach: the one that was checked is the one that is asked.

A name is resolved once, and the connection goes to the address, while the certificate is checked by the name: so no
name server can give another answer in between. Nothing is followed, no proxy is asked, and of the answer only status
and headers are read.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache

import certifi

from shared.domain.errors import Rejected
from shared.domain.webhook_targets import Target, are_public, read_url
from shared.domain.webhooks import Answer, DeliveryError

_USER_AGENT = "Bindery-Webhooks"

Resolve = Callable[[str], Sequence[str]]


def resolve(host: str) -> Sequence[str]:
    """The addresses of a name, in the order in which they are to be tried. Raises OSError, UnicodeError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certifi.where())


class PinnedWebhookSender:
    """`seconds` bounds an attempt, from its first connection to the end of the answer's headers. `allow_private` is for
    one machine's own stack."""

    def __init__(
        self,
        seconds: float,
        *,
        allow_private: bool,
        resolve: Resolve = resolve,
        trusted: Callable[[], ssl.SSLContext] = _trusted,
    ) -> None:
        self._seconds = seconds
        self._allow_private = allow_private
        self._resolve = resolve
        self._trusted = trusted

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            target = read_url(url, allow_private=self._allow_private)
            addresses = self._resolve(target.host)
            if not self._allow_private and not are_public(addresses):
                return Answer(error=DeliveryError.UNREACHABLE)
        except (Rejected, OSError, ValueError):
            return Answer(error=DeliveryError.UNREACHABLE)
        ends = time.monotonic() + self._seconds
        try:
            with _connected(target, addresses, ends, self._trusted) as connection:
                connection.request("POST", target.path, body, {**headers, **_OWN_HEADERS})
                # Closed too: it holds the socket open.
                with connection.getresponse() as reply:
                    if time.monotonic() >= ends:
                        raise TimeoutError  # the end of its headers may be ours
                    error = None if 200 <= reply.status < 300 else DeliveryError.STATUS
                    return Answer(status=reply.status, error=error, retry_after=reply.getheader("Retry-After"))
        except ssl.SSLCertVerificationError:
            return Answer(error=DeliveryError.CERTIFICATE)
        except (OSError, http.client.HTTPException, ValueError):
            is_late = time.monotonic() >= ends
            return Answer(error=DeliveryError.TIMED_OUT if is_late else DeliveryError.UNREACHABLE)


_OWN_HEADERS = {"Content-Type": "application/json", "User-Agent": _USER_AGENT, "Connection": "close"}


@contextmanager
def _connected(
    target: Target, addresses: Sequence[str], ends: float, trusted: Callable[[], ssl.SSLContext]
) -> Iterator[http.client.HTTPConnection]:
    """A connection that is cut when its time is over: a socket's own timeout begins anew with each byte. Raises
    OSError."""
    plain = _dial(addresses, target.port, ends)
    with plain:
        link: socket.socket = plain
        if target.scheme == "https":
            link = trusted().wrap_socket(plain, server_hostname=target.host, do_handshake_on_connect=False)
        # Of the plain class, so that TLS's state stays with the thread that reads.
        cut = threading.Timer(max(0.0, ends - time.monotonic()), _cut, [link])
        cut.daemon = True
        cut.start()
        try:
            with link:
                if isinstance(link, ssl.SSLSocket):
                    link.do_handshake()
                connection = http.client.HTTPConnection(target.host, target.port)
                connection.sock = link
                yield connection
        finally:
            cut.cancel()


def _dial(addresses: Sequence[str], port: int, ends: float) -> socket.socket:
    """Connect to the first address that takes it. Raises OSError."""
    failure: OSError = OSError("there is no address")
    for address in addresses:
        left = ends - time.monotonic()
        if left <= 0:
            break
        try:
            dialled = socket.create_connection((address, port), left)
        except OSError as error:
            failure = error
        else:
            # It waits for no longer than until it is cut.
            dialled.settimeout(left + 1)
            return dialled
    raise failure


def _cut(link: socket.socket) -> None:
    try:
        socket.socket.shutdown(link, socket.SHUT_RDWR)
    except OSError:
        return  # it has ended meanwhile
