"""No user reaches by a webhook what only Bindery may: real connections, and name servers that lie."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.adapters import webhook_sender
from shared.adapters.webhook_sender import PinnedWebhookSender
from shared.domain.webhooks import Answer, DeliveryError
from tests.support.receiver import Receiver
from tests.support.world import World

UNREACHABLE = Answer(error=DeliveryError.UNREACHABLE)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of app.example, signed by itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("app.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "app.pem"
    kept = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *kept) + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
def tls(certificate: Path) -> Iterator[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made = Receiver(context=context)
    yield made
    made.close()


@pytest.fixture
def app() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


class Names:
    """A name server that gives another answer each time; the last one for good."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), list[str]()

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def sender(
    names: Names, *, allow_private: bool = False, seconds: float = 20, ca: Path | None = None
) -> PinnedWebhookSender:
    def trusted() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=ca)

    return PinnedWebhookSender(seconds, allow_private=allow_private, resolve=names, trusted=trusted)


def test_the_certificate_and_the_host_are_the_names_while_the_connection_is_to_the_address(
    tls: Receiver, certificate: Path
) -> None:
    names = Names(["127.0.0.1"], ["192.0.2.1"])
    url = f"https://app.example:{tls.port}/hooks"

    assert sender(names, allow_private=True, ca=certificate).send(url, {"webhook-id": "e"}, b"{}") == Answer(status=204)
    assert names.asked == ["app.example"], "a name server that is asked again may give another answer"
    assert tls.received[0].headers["host"] == f"app.example:{tls.port}"


def test_a_certificate_of_another_name_or_of_nobody_known_is_refused(tls: Receiver, certificate: Path) -> None:
    for host, ca in (("other.example", certificate), ("app.example", None), ("127.0.0.1", certificate)):
        found = sender(Names(["127.0.0.1"]), allow_private=True, ca=ca).send(f"https://{host}:{tls.port}/", {}, b"{}")
        assert found == Answer(error=DeliveryError.CERTIFICATE), host
    assert tls.received == []


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], []])
def test_a_name_of_which_any_address_is_private_is_not_even_dialled(
    tls: Receiver, certificate: Path, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: dialled.append(a))

    assert sender(Names(addresses), ca=certificate).send(f"https://app.example:{tls.port}/", {}, b"{}") == UNREACHABLE
    assert dialled == []


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "017700000001"])
def test_an_address_in_disguise_is_found_out_when_it_is_resolved(host: str) -> None:
    assert webhook_sender.resolve(host) == ["127.0.0.1"]
    url = f"https://{host}/"
    assert PinnedWebhookSender(20, allow_private=False).send(url, {}, b"{}") == UNREACHABLE


def test_a_closed_port_a_private_address_and_a_name_that_is_not_there_look_the_same(app: Receiver) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()

    def fail(host: str) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    answers = [
        sender(Names(["127.0.0.1"]), allow_private=True).send(f"http://app.example:{port}/", {}, b"{}"),
        sender(Names(["127.0.0.1"])).send(f"https://app.example:{app.port}/", {}, b"{}"),
        sender(Names(["127.0.0.1"])).send(f"http://app.example:{app.port}/", {}, b"{}"),
        PinnedWebhookSender(20, allow_private=False, resolve=fail).send("https://app.example/", {}, b"{}"),
    ]
    assert answers == [UNREACHABLE] * 4
    assert app.received == []


def test_the_next_address_is_tried_if_one_does_not_answer(app: Receiver) -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])
    assert sender(names, allow_private=True).send(f"http://app.example:{app.port}/", {}, b"{}").status == 204


def test_no_proxy_of_the_environment_is_asked(app: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://192.0.2.1:1")
    monkeypatch.delenv("no_proxy", raising=False)

    assert sender(Names(["127.0.0.1"]), allow_private=True).send(app.url, {}, b"{}").status == 204


@pytest.mark.parametrize(
    "drip",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX: "],
    ids=["silent", "between headers", "inside a header"],
)
def test_an_endpoint_that_never_ends_its_headers_is_cut_off(drip: bytes) -> None:
    """Also one that sends a byte now and again, for which a socket's own timeout would begin anew."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            try:
                peer.sendall(drip)
                while drip and not over.wait(0.05):
                    peer.sendall(b"a" if drip.endswith(b" ") else b"X: y\r\n")
            except OSError:
                return
            over.wait(20)

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    found = sender(Names(["127.0.0.1"]), allow_private=True, seconds=0.4).send(url, {}, b"{}")
    over.set()
    thread.join()

    assert found == Answer(error=DeliveryError.TIMED_OUT)


def test_an_endpoint_that_never_ends_its_handshake_is_cut_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://app.example:{listener.getsockname()[1]}/"
        found = sender(Names(["127.0.0.1"]), allow_private=True, seconds=0.4).send(url, {}, b"{}")

    assert found == Answer(error=DeliveryError.TIMED_OUT)


def test_what_an_endpoint_answers_is_not_read() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            peer.recv(65_536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
            peer.recv(1)  # until it hangs up

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    found = sender(Names(["127.0.0.1"]), allow_private=True).send(url, {}, b"{}")
    thread.join()

    assert found == Answer(status=200)


@pytest.mark.parametrize("reply", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n", b""])
def test_what_is_no_http_is_no_success(reply: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            peer.recv(65_536)
            peer.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    found = sender(Names(["127.0.0.1"]), allow_private=True).send(url, {}, b"{}")
    thread.join()

    assert found == UNREACHABLE


@pytest.mark.parametrize(
    "url", ["http://app.example/", "https://127.0.0.1/", "https://169.254.169.254/", "https://a:b@app.example/"]
)
def test_the_api_refuses_urls_that_no_delivery_goes_to(world: World, url: str) -> None:
    """By what they say alone: no name is asked for."""
    refused = world.call("POST", "/api/webhooks", {"url": url})
    assert (refused.status_code, refused.json["code"]) == (422, "rejected")
    assert world.get("/api/webhooks").json == {"webhooks": []}
