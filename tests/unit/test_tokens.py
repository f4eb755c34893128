"""ID tokens of users and of Pub/Sub, offline, with a key of our own."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt
from google.auth.exceptions import TransportError

from shared.adapters.firebase_auth import FirebaseAuthenticator
from shared.adapters.google_tokens import CachedRequest
from shared.adapters.push_auth import OidcPushVerifier
from shared.domain.errors import Unavailable
from shared.domain.identity import Unauthenticated

PROJECT, ACCOUNT = "my-project", "pusher@my-project.iam.gserviceaccount.com"
KEY, OTHER_KEY = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))


def pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()


def certificate(key: rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


class Google:
    """Serves the certificates, and counts how often it was asked."""

    status = 200

    def __init__(self) -> None:
        self.asked = 0
        self.headers = {"cache-control": "public, max-age=3600"}
        self.data = json.dumps({"k1": certificate(KEY)}).encode()
        self.down = False

    def __call__(self, url: str, method: str = "GET", **_: Any) -> Google:
        self.asked += 1
        if self.down:
            raise TransportError("no route")  # type: ignore[no-untyped-call]
        return self


@pytest.fixture
def google() -> Google:
    return Google()


@pytest.fixture
def users(google: Google) -> FirebaseAuthenticator:
    return FirebaseAuthenticator(PROJECT, CachedRequest(google))


def token(key: rsa.RSAPrivateKey = KEY, **changes: Any) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": f"https://securetoken.google.com/{PROJECT}",
        "aud": PROJECT,
        "sub": "ann",
        "iat": now - 5,
        "exp": now + 3600,
    }
    claims = {k: v for k, v in (claims | changes).items() if v is not None}
    signer = crypt.RSASigner.from_string(pem(key), "k1")  # type: ignore[no-untyped-call]
    return f"Bearer {jwt.encode(signer, claims).decode()}"  # type: ignore[no-untyped-call]


def unsigned() -> str:
    _, body, _ = token().removeprefix("Bearer ").split(".")
    return "Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + body + "."


def test_a_valid_token_names_the_user(users: FirebaseAuthenticator) -> None:
    assert users.authenticate(token()).uid == "ann"
    assert users.authenticate(token()).admin is False
    assert users.authenticate(token(admin=True)).admin is True


REFUSED: dict[str, Callable[[], str | None]] = {
    "expired": lambda: token(iat=int(time.time()) - 7200, exp=int(time.time()) - 3600),
    "other audience": lambda: token(aud="other"),
    "other issuer": lambda: token(iss="https://securetoken.google.com/other"),
    "alg none": unsigned,
    "wrong key": lambda: token(OTHER_KEY),
    "not yet valid": lambda: token(iat=int(time.time()) + 600),
    "no sub": lambda: token(sub=None),
    "empty sub": lambda: token(sub=""),
    "long sub": lambda: token(sub="x" * 129),
    "no header": lambda: None,
    "no scheme": lambda: token().removeprefix("Bearer "),
    "garbage": lambda: "Bearer a.b.c",
    "empty": lambda: "Bearer ",
}


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_token_is_refused_and_the_reason_leaks_nothing(users: FirebaseAuthenticator, case: str) -> None:
    header = REFUSED[case]()
    with pytest.raises(Unauthenticated) as refused:
        users.authenticate(header)
    assert not header or len(header) < 10 or header[7:] not in str(refused.value)


def test_certificates_are_fetched_once_for_many_tokens_and_again_when_they_are_old(google: Google) -> None:
    now = [0.0]
    users = FirebaseAuthenticator(PROJECT, CachedRequest(google, lambda: now[0]))
    for _ in range(20):
        users.authenticate(token())
    assert google.asked == 1

    now[0] = 3601.0
    users.authenticate(token())
    assert google.asked == 2


def test_certificates_that_cannot_be_fetched_are_no_fault_of_the_users(
    users: FirebaseAuthenticator, google: Google
) -> None:
    google.down = True
    with pytest.raises(Unavailable):
        users.authenticate(token())


def push(**changes: Any) -> str:
    claims = {"iss": "https://accounts.google.com", "aud": "https://x", "email": ACCOUNT, "email_verified": True}
    return token(**(claims | changes))


def test_pub_subs_own_account_may_push(google: Google) -> None:
    OidcPushVerifier("https://x", ACCOUNT, CachedRequest(google)).verify(push())


@pytest.mark.parametrize(
    "changes",
    [{"email": "eve@x"}, {"email_verified": False}, {"email_verified": None}, {"aud": "y"}, {"iss": "https://eve"}],
)
def test_nobody_else_may(google: Google, changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        OidcPushVerifier("https://x", ACCOUNT, CachedRequest(google)).verify(push(**changes))
