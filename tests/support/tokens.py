"""ID tokens as Google signs them, with keys of our own."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import time
from copy import copy
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt
from google.auth.exceptions import TransportError

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


class FakeCertificates:
    """Serves Google's certificates, as a transport of google-auth does, and counts how often it was asked."""

    status = 200

    def __init__(self) -> None:
        self.asked = 0
        self.headers = {"cache-control": "public, max-age=3600"}
        self.data = json.dumps({"k1": certificate(KEY)}).encode()
        self.down = False

    def __call__(self, url: str, method: str = "GET", **_: Any) -> FakeCertificates:
        self.asked += 1
        if self.down:
            raise TransportError("no route")  # type: ignore[no-untyped-call]
        return copy(self)


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


def unsigned(**changes: Any) -> str:
    """Return a good token without a signature, whose header says that there is none."""
    _, body, _ = token(**changes).split(".")
    return f"Bearer {segment(json.dumps({'alg': 'none', 'typ': 'JWT'}))}.{body}."


def signed_with_the_certificate() -> str:
    """Return a token signed by HMAC with what everyone knows: Google's certificate."""
    _, body, _ = token().split(".")
    signed = f"{segment(json.dumps({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'}))}.{body}"
    return f"Bearer {signed}.{segment(hmac.digest(certificate(KEY).encode(), signed.encode(), hashlib.sha256))}"


def changed_after_signing(**changes: Any) -> str:
    head, body, signature = token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    return f"{head}.{segment(json.dumps(claims | changes))}.{signature}"


def segment(part: str | bytes) -> str:
    raw = part.encode() if isinstance(part, str) else part
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def push_token(key: rsa.RSAPrivateKey = KEY, **changes: Any) -> str:
    """Return a token of the account that pushes, for the audience `https://x`."""
    claims = {"iss": "https://accounts.google.com", "aud": "https://x", "email": ACCOUNT, "email_verified": True}
    return token(key, **(claims | changes))
