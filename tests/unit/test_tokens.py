"""ID tokens of users and of Pub/Sub, offline, with a key of our own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from shared.adapters.google.firebase_auth import FirebaseAuthenticator
from shared.adapters.google.push_auth import OidcPushVerifier
from shared.adapters.google.tokens import CachedRequest
from shared.domain.errors import Unauthenticated, Unavailable
from tests.support.tokens import (
    ACCOUNT,
    OTHER_KEY,
    PROJECT,
    FakeCertificates,
    changed_after_signing,
    push_token,
    segment,
    signed_with_the_certificate,
    token,
    unsigned,
)


def soon() -> int:
    return int(time.time()) + 600


@pytest.fixture
def certificates() -> FakeCertificates:
    return FakeCertificates()


@pytest.fixture
def users(certificates: FakeCertificates) -> FirebaseAuthenticator:
    return FirebaseAuthenticator(PROJECT, CachedRequest(certificates))


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
    "certificate as secret": signed_with_the_certificate,
    "changed after signing": lambda: changed_after_signing(sub="eve"),
    "issued in the future": lambda: token(iat=soon()),
    "not valid before the future": lambda: token(nbf=soon()),
    "not valid before a word": lambda: token(nbf="now"),
    "no expiry": lambda: token(exp=None),
    "expiry is a word": lambda: token(exp="never"),
    "no time of issue": lambda: token(iat=None),
    "no audience": lambda: token(aud=None),
    "no issuer": lambda: token(iss=None),
    "no sub": lambda: token(sub=None),
    "empty sub": lambda: token(sub=""),
    "sub is no text": lambda: token(sub=["ann"]),
    "sub that no database keeps": lambda: token(sub="ann\0"),
    "long sub": lambda: token(sub="x" * 129),
    "no header": lambda: None,
    "no scheme": lambda: token().removeprefix("Bearer "),
    "other scheme": lambda: token().replace("Bearer", "Basic"),
    "garbage": lambda: "Bearer a.b.c",
    "one segment": lambda: "Bearer abc",
    "not ASCII": lambda: "Bearer ä.ö.ü",
    "half a surrogate": lambda: "Bearer \ud800.\udfff.x",
    "header is a list": lambda: f"Bearer {segment('[]')}.{segment('{}')}.x",
    "claims are a number": lambda: f"Bearer {segment('{}')}.{segment('1')}.x",
    "kid is an object": lambda: f"Bearer {segment(json.dumps({'alg': 'RS256', 'kid': {}}))}.{segment('{}')}.xx",
    "nested deeply": lambda: f"Bearer {segment('[' * 200_000)}.{segment('{}')}.xx",
    "not UTF-8": lambda: f"Bearer {segment(bytes([255, 254]))}.{segment('{}')}.xx",
    "empty": lambda: "Bearer ",
}


REASONS = (
    "send a token: Authorization: Bearer ...",
    "the token is not valid here; get a new one",
    "the token names no user",
)


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_token_is_refused_and_the_reason_leaks_nothing(users: FirebaseAuthenticator, case: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        users.authenticate(REFUSED[case]())
    assert str(refused.value) in REASONS


def test_certificates_are_fetched_once_for_many_tokens_and_again_when_they_are_old(
    certificates: FakeCertificates,
) -> None:
    now = [0.0]
    users = FirebaseAuthenticator(PROJECT, CachedRequest(certificates, lambda: now[0]))
    for _ in range(20):
        users.authenticate(token())
    assert certificates.asked == 1

    now[0] = 3601.0
    users.authenticate(token())
    assert certificates.asked == 2


def test_certificates_that_can_not_be_fetched_again_are_used_for_another_hour(certificates: FakeCertificates) -> None:
    now = [0.0]
    users = FirebaseAuthenticator(PROJECT, CachedRequest(certificates, lambda: now[0]))
    users.authenticate(token())
    certificates.down = True
    now[0] = 3700.0
    for _ in range(20):
        assert users.authenticate(token()).uid == "ann"
    assert certificates.asked == 2, "nobody waits for the same silence"

    certificates.down, certificates.status = False, 500
    now[0] = 3800.0
    assert users.authenticate(token()).uid == "ann"
    now[0] = 7300.0
    with pytest.raises(Unavailable):
        users.authenticate(token())
    certificates.status = 200
    assert users.authenticate(token()).uid == "ann"


def test_certificates_that_cannot_be_fetched_are_no_fault_of_the_users(
    users: FirebaseAuthenticator, certificates: FakeCertificates
) -> None:
    certificates.down = True
    with pytest.raises(Unavailable):
        users.authenticate(token())


def test_pub_subs_own_account_may_push(certificates: FakeCertificates) -> None:
    OidcPushVerifier("https://x", ACCOUNT, CachedRequest(certificates)).verify(push_token())


NO_PUSHER: dict[str, Callable[[], str | None]] = {
    "no token": lambda: None,
    "garbage": lambda: "Bearer a.b.c",
    "other account": lambda: push_token(email="eve@my-project.iam.gserviceaccount.com"),
    "no account": lambda: push_token(email=None),
    "account in capitals": lambda: push_token(email=ACCOUNT.upper()),
    "unverified account": lambda: push_token(email_verified=False),
    "account verified in words": lambda: push_token(email_verified="true"),
    "account not said to be verified": lambda: push_token(email_verified=None),
    "other audience": lambda: push_token(aud="https://y"),
    "other issuer": lambda: push_token(iss="https://eve"),
    "a user's token": token,
    "expired": lambda: push_token(iat=int(time.time()) - 7200, exp=int(time.time()) - 3600),
    "not yet valid": lambda: push_token(nbf=soon()),
    "wrong key": lambda: push_token(OTHER_KEY),
}


@pytest.mark.parametrize("case", NO_PUSHER)
def test_nobody_else_may(certificates: FakeCertificates, case: str) -> None:
    with pytest.raises(Unauthenticated):
        OidcPushVerifier("https://x", ACCOUNT, CachedRequest(certificates)).verify(NO_PUSHER[case]())
